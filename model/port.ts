/**
 * What a port speaks. `HTTP` is HTTP/1.1 (with upgrade), `HTTP2` and `GRPC` are
 * HTTP/2, `TLS` is passed through by SNI, `TCP` is opaque.
 */
export type Protocol = "HTTP" | "HTTP2" | "GRPC" | "TCP" | "TLS";

/** One port of a service. */
export interface ServicePort {
  /** Unique in its service; empty only where a service has one port. */
  readonly name: string;
  readonly number: number;
  readonly protocol: Protocol;
  /** The workload's port: a number, or the name of one of its ports. Absent: the same number. */
  readonly targetPort?: number | string;
}

/** True where requests, not only connections, can be routed. */
export function isHttp(protocol: Protocol): boolean {
  return protocol === "HTTP" || protocol === "HTTP2" || protocol === "GRPC";
}

/** Ports whose servers speak first: sniffing them would stall, so they are TCP unless told otherwise. */
const SERVER_FIRST_PORTS: ReadonlySet<number> = new Set([21, 22, 25, 110, 143, 587, 3306, 33060, 5432, 6379]);

const BY_NAME: ReadonlyMap<string, Protocol> = new Map([
  ["http", "HTTP"],
  ["http2", "HTTP2"],
  ["h2c", "HTTP2"],
  ["grpc", "GRPC"],
  ["grpc-web", "HTTP"],
  ["tcp", "TCP"],
  ["tls", "TLS"],
  ["https", "TLS"],
  ["ws", "HTTP"],
  ["wss", "TLS"],
  ["mongo", "TCP"],
  ["mysql", "TCP"],
  ["postgres", "TCP"],
  ["redis", "TCP"],
  ["udp", "TCP"],
]);

/**
 * The protocol that a word names, the way Istio reads `appProtocol`, a
 * `protocol` field or a registry's tag; undefined for a word that names none.
 */
export function protocolNamed(word: string): Protocol | undefined {
  const bare = word.toLowerCase().replace(/^kubernetes\.io\//, "");
  return BY_NAME.get(bare);
}

/**
 * Istio's protocol selection: what is declared wins, then the prefix of the
 * port's name (`grpc-admin`), else TCP. A well-known server-first port is TCP
 * unless declared.
 * Source: istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection
 */
export function selectProtocol(declared: string | undefined, portName: string, number: number): Protocol {
  const explicit = declared === undefined || declared === "" ? undefined : protocolNamed(declared);
  if (explicit !== undefined) return explicit;
  if (SERVER_FIRST_PORTS.has(number)) return "TCP";
  const prefix = portName.startsWith("grpc-web") ? "grpc-web" : (portName.split("-")[0] ?? "");
  return protocolNamed(prefix) ?? "TCP";
}
