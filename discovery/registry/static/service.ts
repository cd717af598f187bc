import type { ResourceOf } from "../../../api/resource.ts";
import { canonicalHostname } from "../../../model/hostname.ts";
import { selectProtocol } from "../../../model/port.ts";
import type { Backends, RegistryService } from "../registry.ts";
import { sourceOf } from "./source.ts";

/** Lets endpoints without an identity serve beside meshed ones. */
export const ALLOW_PLAINTEXT_ANNOTATION = "ironmesh.io/allow-plaintext";

/** Names the registries, with commas between, whose services' instances its selector sees besides those that belong to no service. */
const REGISTRIES_ANNOTATION = "ironmesh.io/registries";

/** What a selector of a resource with these annotations selects. */
export function selectorOf(labels: Readonly<Record<string, string>>, annotations: Readonly<Record<string, string>>): Backends {
  const registries = listOf(annotations[REGISTRIES_ANNOTATION]);
  return { kind: "selector", labels, ...(registries.length === 0 ? {} : { registries }) };
}

/** A core `v1/Service`: its selector picks workloads of its namespace; without one, or with an empty one, it has no endpoints. */
export function buildService(resource: ResourceOf<"Service">, meshDomain: string): RegistryService {
  const { metadata, spec } = resource;
  const { name, namespace, labels, annotations } = metadata;
  const { selector = {} } = spec;
  return {
    namespace,
    name,
    claim: "canonical",
    hostname: canonicalHostname(name, namespace, meshDomain),
    aliases: [],
    ports: spec.ports
      .map((port) => ({
        name: port.name ?? "",
        number: port.port,
        protocol: selectProtocol(port.appProtocol, port.name ?? "", port.port),
        ...(port.targetPort === undefined ? {} : { targetPort: port.targetPort }),
      }))
      .sort((a, b) => a.number - b.number),
    resolution: "static",
    external: false,
    addresses: [],
    labels,
    subjectAltNames: [],
    exportTo: exportToOf(annotations["networking.istio.io/exportTo"]),
    backends: Object.keys(selector).length === 0 ? { kind: "explicit", workloads: [] } : selectorOf(selector, annotations),
    allowsPlaintext: annotations[ALLOW_PLAINTEXT_ANNOTATION] === "true",
    notes: [],
    source: sourceOf(resource),
  };
}

/** Istio's annotation on core services: a comma-separated list. */
function exportToOf(text: string | undefined): string[] {
  const names = listOf(text);
  return names.length === 0 ? ["*"] : names;
}

function listOf(text: string | undefined): string[] {
  return (text ?? "").split(",").map((name) => name.trim()).filter((name) => name !== "");
}
