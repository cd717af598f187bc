/** One port, for those who ask by SRV. */
export interface NamePort {
  readonly name: string;
  readonly number: number;
  /** As the mesh calls it, such as `HTTP`. */
  readonly protocol: string;
}

/** A service that a name of SRV may speak of, and which of its ports. */
export interface AskedService {
  readonly service: string;
  readonly accepts: (port: NamePort) => boolean;
}

const SERVICE_NAME = /^_([^.]+)\._([^.]+)\.(.+)$/;

/**
 * What a name of two underscored labels may mean, the likelier first:
 *
 * - `_PORT._tcp.NAME` (RFC 2782, as Kubernetes has it): the port of this name,
 *   else those that speak this protocol;
 * - `_SERVICE._TAG.REST` (as Consul has it, `_web._tcp.service.consul`): the
 *   service `SERVICE.REST`, all of its ports where the tag is `tcp`, else as above.
 *
 * Nothing of the mesh is reached by UDP.
 */
export function serviceAsked(name: string): readonly AskedService[] {
  const [, first = "", second = "", rest = ""] = SERVICE_NAME.exec(name) ?? [];
  if (rest === "") return [];
  const named = (word: string) => (port: NamePort): boolean => port.name.toLowerCase() === word || port.protocol.toLowerCase() === word;
  return [
    ...(second === "tcp" ? [{ service: rest, accepts: named(first) }] : []),
    { service: `${first}.${rest}`, accepts: second === "tcp" ? () => true : named(second) },
  ];
}
