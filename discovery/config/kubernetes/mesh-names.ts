import type { Kind } from "../../../api/resource.ts";

/** How a cluster's names are written in the mesh. */
export interface ClusterNames {
  /** Stands before each of the cluster's namespaces to make the mesh's. */
  readonly namespacePrefix: string;
  /** The cluster's own domain. */
  readonly clusterDomain: string;
  readonly meshDomain: string;
  readonly trustDomain: string;
}

type Mapping = (written: string, names: ClusterNames) => string;

/** A place in a resource; `*` stands for each entry of a list. */
type Place = readonly string[];

const DESTINATIONS: readonly Place[] = ["http", "tcp", "tls"].map((protocol) => [protocol, "*", "route", "*", "destination", "host"]);

/** Where resources name services. */
const HOSTS: Readonly<Partial<Record<Kind, readonly Place[]>>> = {
  VirtualService: [["hosts", "*"], ["tls", "*", "match", "*", "sniHosts", "*"], ["http", "*", "mirror", "host"], ["http", "*", "mirrors", "*", "destination", "host"], ...DESTINATIONS],
  DestinationRule: [["host"]],
  ServiceEntry: [["hosts", "*"]],
};

const SOURCE: Place = ["rules", "*", "from", "*", "source"];

/** Where they name callers. */
const NAMESPACES: Readonly<Partial<Record<Kind, readonly Place[]>>> = {
  AuthorizationPolicy: [[...SOURCE, "namespaces", "*"], [...SOURCE, "notNamespaces", "*"]],
};
const PRINCIPALS: Readonly<Partial<Record<Kind, readonly Place[]>>> = {
  AuthorizationPolicy: [[...SOURCE, "principals", "*"], [...SOURCE, "notPrincipals", "*"]],
};

/**
 * What a resource of a cluster says, in the mesh's names: its services and
 * namespaces are others there. What is not text, or does not name anything of
 * the cluster, stays as it is; whether it may is for others to judge.
 */
export function toMeshNames(kind: Kind, spec: unknown, names: ClusterNames): unknown {
  const mappings: readonly (readonly [readonly Place[] | undefined, Mapping])[] = [[HOSTS[kind], toMeshHost], [NAMESPACES[kind], toMeshNamespaces], [PRINCIPALS[kind], toMeshPrincipal]];
  return mappings.reduce((mapped, [places = [], mapping]) => places.reduce((value, place) => mapAt(value, place, (written) => mapping(written, names)), mapped), spec);
}

/** `reviews.shop.svc.cluster.local` → `reviews.east-shop.svc.mesh.internal`; a short name is one of the resource's namespace already. */
function toMeshHost(written: string, { clusterDomain, meshDomain, namespacePrefix }: ClusterNames): string {
  const ending = `.svc.${clusterDomain}`;
  const lower = written.toLowerCase();
  const [name, namespace, ...others] = lower.endsWith(ending) ? lower.slice(0, -ending.length).split(".") : [];
  if (name === undefined || namespace === undefined || others.length > 0) return written;
  return `${name}.${namespacePrefix}${namespace}.svc.${meshDomain}`;
}

/** `shop` → `east-shop`, `sh*` → `east-sh*`; `*` means everybody here and there. */
function toMeshNamespaces(written: string, { namespacePrefix }: ClusterNames): string {
  return written.startsWith("*") ? written : `${namespacePrefix}${written}`;
}

/**
 * `cluster.local/ns/shop/sa/web` → `mesh.internal/ns/east-shop/sa/web`. Istio
 * means its own trust domain by `cluster.local`, whatever it is called, so that
 * those of the cluster's namespaces are meant, by any beginning of their
 * principals too. Another trust domain is meant as such.
 * Source: istio.io/latest/docs/reference/config/security/authorization-policy/#Source
 */
function toMeshPrincipal(written: string, { clusterDomain, namespacePrefix, trustDomain }: ClusterNames): string {
  const own = ["cluster.local", clusterDomain, "*"];
  const beginning = /^([^*]+|\*\/.*)\*$/.exec(written)?.[1];
  if (beginning !== undefined && own.some((domain) => `${domain}/ns/`.startsWith(beginning))) return `${trustDomain}/ns/${namespacePrefix}*`;
  const slash = written.indexOf("/");
  if (!own.includes(written.slice(0, Math.max(0, slash)))) return written;
  const rest = written.slice(slash + 1);
  return rest.startsWith("ns/") ? `${trustDomain}/ns/${namespacePrefix}${rest.slice(3)}` : written;
}

function mapAt(value: unknown, [step, ...rest]: Place, mapping: (written: string) => string): unknown {
  if (step === undefined) return typeof value === "string" ? mapping(value) : value;
  if (step === "*") return Array.isArray(value) ? value.map((entry: unknown) => mapAt(entry, rest, mapping)) : value;
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, step)) return value;
  return { ...value, [step]: mapAt((value as Readonly<Record<string, unknown>>)[step], rest, mapping) };
}
