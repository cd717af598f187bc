import type { ResourceOf, Specs } from "../../../api/resource.ts";
import { canonicalAddress, familyOf, isWithin } from "../../../model/address.ts";
import { selectProtocol } from "../../../model/port.ts";
import type { ServicePort } from "../../../model/port.ts";
import type { Resolution } from "../../../model/service.ts";
import { parseLocality } from "../../../model/workload.ts";
import type { Workload } from "../../../model/workload.ts";
import type { Backends, RegistryService } from "../registry.ts";
import { ALLOW_PLAINTEXT_ANNOTATION, selectorOf } from "./service.ts";
import { sourceOf, STATIC_REGISTRY } from "./source.ts";

type Entry = ResourceOf<"ServiceEntry">;
const LOOPBACK: readonly string[] = ["127.0.0.0/8", "::1"];

type InlineEndpoint = NonNullable<Specs["ServiceEntry"]["endpoints"]>[number];

/**
 * A ServiceEntry is one service per host that it names; that host is the
 * service's name too, as it lies in no namespace of its own.
 * Source: istio.io/latest/docs/reference/config/networking/service-entry
 */
export function buildServiceEntry(resource: Entry, meshDomain: string): RegistryService[] {
  const { metadata, spec, confinedTo } = resource;
  const { namespace, annotations, labels } = metadata;
  const notes: string[] = [];
  const resolution = resolutionOf(spec, notes);
  const addresses = (spec.addresses ?? []).filter((address) => {
    const problem = problemOf(address);
    if (problem !== undefined) notes.push(`address ${address} is not used: ${problem}`);
    return problem === undefined;
  });
  const getsAddress = (host: string): boolean => addresses.length > 0 || (resolution !== "passthrough" && host.endsWith(`.${meshDomain}`));
  return [...new Set((spec.hosts ?? []).map((host) => host.toLowerCase()))].map((host) => ({
    namespace,
    name: host,
    claim: confinedTo === undefined ? "declared" : "allowed",
    hostname: host,
    aliases: [],
    ports: (spec.ports ?? []).map(buildPort).sort((a, b) => a.number - b.number),
    resolution,
    external: (spec.location ?? "MESH_EXTERNAL") === "MESH_EXTERNAL",
    // Envoy refuses a listener with two chains for one place, however that is written.
    addresses: [...new Set(addresses.map(canonicalAddress))],
    labels,
    subjectAltNames: [...(spec.subjectAltNames ?? [])].sort(),
    exportTo: spec.exportTo === undefined || spec.exportTo.length === 0 ? ["*"] : spec.exportTo,
    backends: buildBackends(resource, host, resolution),
    allowsPlaintext: annotations[ALLOW_PLAINTEXT_ANNOTATION] === "true",
    notes: [...notes, ...(getsAddress(host) ? [] : portsWithoutAddress(spec))].sort(),
    source: sourceOf(resource),
  }));
}

/** Why no connection is known by an address; undefined where it is. */
function problemOf(address: string): string | undefined {
  if (familyOf(address) === undefined) return "only single IP addresses are";
  // The listeners refuse what goes there, since it was dialed and not captured.
  return isWithin(address, LOOPBACK) ? "loopback is each host's own" : undefined;
}

function buildPort(port: NonNullable<Specs["ServiceEntry"]["ports"]>[number]): ServicePort {
  return {
    name: port.name,
    number: port.number,
    protocol: selectProtocol(port.protocol, port.name, port.number),
    ...(port.targetPort === undefined ? {} : { targetPort: port.targetPort }),
  };
}

/** Nothing of such a connection says which host it is for. */
function portsWithoutAddress(spec: Specs["ServiceEntry"]): string[] {
  return (spec.ports ?? [])
    .filter((port) => buildPort(port).protocol === "TCP")
    .map(({ number }) => `port ${number} is not served: connections of a TCP port are known by their address alone, and spec.addresses has none`);
}

function resolutionOf(spec: Specs["ServiceEntry"], notes: string[]): Resolution {
  switch (spec.resolution ?? "NONE") {
    case "STATIC":
      return "static";
    case "DNS":
    case "DNS_ROUND_ROBIN":
      return "dns";
    case "DYNAMIC_DNS":
      notes.push("resolution DYNAMIC_DNS is served as NONE: connections go where the caller dialed");
      return "passthrough";
    case "NONE":
      return "passthrough";
  }
}

function buildBackends(resource: Entry, host: string, resolution: Resolution): Backends {
  const { spec } = resource;
  if (spec.workloadSelector !== undefined) return selectorOf(spec.workloadSelector.labels ?? {}, resource.metadata.annotations);
  if (resolution === "passthrough") return { kind: "explicit", workloads: [] };
  const written = spec.endpoints ?? [];
  // A DNS entry without endpoints is its own name; a wildcard is no name to resolve.
  const endpoints = written.length === 0 && resolution === "dns" && !host.includes("*") ? [{ address: host }] : written;
  return {
    kind: "explicit",
    workloads: endpoints.flatMap((endpoint, index) => buildWorkload(resource, host, endpoint, index)),
  };
}

function buildWorkload(resource: Entry, host: string, endpoint: InlineEndpoint, index: number): Workload[] {
  const { name, namespace } = resource.metadata;
  if (endpoint.address === undefined || endpoint.address === "") return [];
  return [
    {
      // Padded, so that the order of keys is the order in the file.
      key: `${STATIC_REGISTRY}/ServiceEntry/${namespace}/${name}/${host}/${String(index).padStart(5, "0")}`,
      namespace,
      name: `${name}-${index}`,
      addresses: [endpoint.address],
      ports: endpoint.ports ?? {},
      labels: endpoint.labels ?? {},
      serviceAccount: endpoint.serviceAccount ?? "",
      locality: parseLocality(endpoint.locality),
      network: endpoint.network ?? "",
      weight: Math.max(1, endpoint.weight ?? 1),
      health: "healthy",
      meshed: false,
      source: sourceOf(resource),
    },
  ];
}
