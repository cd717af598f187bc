import { isIP } from "node:net";
import { fieldOf, hasField, itemsOf, uniqueIn } from "./rules.ts";
import { choice, list, object, required, text, type ObjectRule } from "./schema.ts";
import { cidr, endpointAddress, exportTo, labels, portName, portNumber, protocol, textProblem, wildcardHost } from "./text.ts";
import { workloadFields } from "./workload-entry.ts";

/** Istio's rules of which fields go with which resolution. */
const resolutionRules: ObjectRule = (value, path, report) => {
  const resolution = value["resolution"] ?? "NONE";
  const endpoints = itemsOf(value["endpoints"]);
  const hasSelector = hasField(value, "workloadSelector");
  if (hasSelector && endpoints.length > 0) {
    report({ code: "IM0130", path: [...path, "workloadSelector"], atKey: true, message: "endpoints and workloadSelector exclude each other", remedy: "keep one of them" });
  }
  if (resolution === "NONE" && (hasSelector || endpoints.length > 0)) {
    const name = hasSelector ? "workloadSelector" : "endpoints";
    report({ code: "IM0132", path: [...path, name], atKey: true, message: `${name} needs another resolution than NONE`, remedy: "set resolution: STATIC or DNS" });
  }
  if (resolution === "STATIC" && !hasSelector && endpoints.length === 0) {
    report({ code: "IM0112", path, message: "resolution STATIC needs endpoints or workloadSelector" });
  }
  endpoints.forEach((endpoint, index) => {
    const address = fieldOf(endpoint, "address");
    if (resolution === "STATIC" && isIP(String(address)) === 0) {
      report({ code: "IM0125", path: [...path, "endpoints", index, "address"], message: `${String(address)} is not an IP address`, remedy: "set resolution: DNS for names" });
    }
  });
  if (resolution === "NONE") return;
  itemsOf(value["hosts"]).forEach((host, index) => {
    if (!String(host).startsWith("*")) return;
    report({ code: "IM0122", path: [...path, "hosts", index], message: "a wildcard host needs resolution NONE" });
  });
  itemsOf(value["addresses"]).forEach((address, index) => {
    if (!String(address).includes("/")) return;
    report({ code: "IM0125", path: [...path, "addresses", index], message: "a range of addresses needs resolution NONE", remedy: "write single addresses" });
  });
};

/** Endpoints may name only ports that the entry has. */
const endpointPorts: ObjectRule = (value, path, report) => {
  const names = new Set(itemsOf(value["ports"]).map((port) => fieldOf(port, "name")));
  itemsOf(value["endpoints"]).forEach((endpoint, index) => {
    for (const name of Object.keys((fieldOf(endpoint, "ports") as object | undefined) ?? {})) {
      if (names.has(name)) continue;
      report({ code: "IM0132", path: [...path, "endpoints", index, "ports", name], atKey: true, message: `${name} is none of the ports`, remedy: "add it to ports" });
    }
  });
};

/** Source: istio.io/latest/docs/reference/config/networking/service-entry */
export const serviceEntrySchema = object(
  {
    hosts: required(list(wildcardHost)),
    addresses: list(cidr),
    ports: required(list(object({ number: required(portNumber), name: required(portName), protocol, targetPort: portNumber }))),
    location: choice(["MESH_EXTERNAL", "MESH_INTERNAL"]),
    resolution: choice(["NONE", "STATIC", "DNS"], ["DNS_ROUND_ROBIN", "DYNAMIC_DNS"]),
    endpoints: list(object({ address: required(endpointAddress), ...workloadFields })),
    workloadSelector: object({ labels: required(labels) }),
    exportTo: list(exportTo),
    subjectAltNames: list(text("SPIFFE ID or DNS name", textProblem)),
  },
  uniqueIn("hosts", (host) => host, "the host"),
  uniqueIn("ports", (port) => fieldOf(port, "name"), "the port name"),
  uniqueIn("ports", (port) => fieldOf(port, "number"), "the port"),
  resolutionRules,
  endpointPorts,
);
