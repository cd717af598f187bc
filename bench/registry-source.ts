/**
 * Where the benchmark of registries registers its services, and how one of them
 * changes. `service-7` is the seventh everywhere.
 */
/** The ways into the catalog; Consul's has two, over HTTP/1.1 and over HTTP/2. */
export const SOURCE_KINDS = ["static", "hosts", "consul", "consul-https", "kubernetes"] as const;
export type SourceKind = (typeof SOURCE_KINDS)[number];

/** How large it is. */
export interface Size {
  readonly services: number;
  /** Of each service. */
  readonly endpoints: number;
}

/** An entry of `registries` in the control plane's file. */
export type RegistryEntry = Readonly<Record<string, string>> & { readonly kind: "consul" | "kubernetes" };

/** A real registry beside the control plane. Whoever starts it stops it. */
export interface Source {
  /** Its program and version. */
  readonly program: string;
  /** How the control plane's file would name it. */
  readonly config: RegistryEntry;
  /** What is in force for the mesh of a service, as its cluster is called. */
  clusterName(index: number): string;
  /** Registers everything. */
  fill(): Promise<void>;
  /** Changes one endpoint of a service; another generation is another change. Resolves when the registry has taken it. */
  change(index: number, generation: number): Promise<void>;
  stop(): Promise<void>;
}

export const SERVICE_PORT = 8_080;

export const serviceName = (index: number): string => `service-${index}`;

/** An address that no other endpoint has; generations differ in the first octet. */
export function endpointAddress(index: number, replica: number, generation = 0): string {
  return `${10 + (generation % 80)}.${replica}.${index >> 8}.${index & 255}`;
}
