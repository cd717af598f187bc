import type { Kind, Metadata, ResourceOf, Specs } from "../../api/resource.ts";

/** An accepted resource, as the configuration hands it on. */
export function resource<K extends Kind>(kind: K, name: string, spec: Specs[K], metadata: Partial<Metadata> = {}): ResourceOf<K> {
  return {
    apiVersion: kind === "Service" ? "v1" : "networking.istio.io/v1",
    kind,
    metadata: { name, namespace: "default", labels: {}, annotations: {}, ...metadata },
    spec,
    position: { file: "mesh.yaml", line: 1, column: 1 },
    origin: "files",
  };
}
