const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;

/** True for a DNS name in lower case, with an optional leading `*.`. */
export function isHostname(text: string): boolean {
  const bare = text.startsWith("*.") ? text.slice(2) : text;
  return bare.length > 0 && bare.length <= 253 && bare.split(".").every((label) => LABEL.test(label));
}

/** True for one label of such a name. */
export function isHostLabel(text: string): boolean {
  return LABEL.test(text);
}

/** The one name that a service of the mesh is known by everywhere. */
export function canonicalHostname(name: string, namespace: string, meshDomain: string): string {
  return `${name}.${namespace}.svc.${meshDomain}`;
}

/** True for a canonical name, or a wildcard of some, in one namespace that begins with the prefix. */
export function isNameWithin(host: string, prefix: string, meshDomain: string): boolean {
  const ending = `.svc.${meshDomain}`;
  if (!host.endsWith(ending)) return false;
  const [name, namespace, ...others] = host.slice(0, -ending.length).split(".");
  return name !== "" && namespace?.startsWith(prefix) === true && others.length === 0;
}

/** True where a name lies in namespaces that begin with the prefix and a service of another one has it: a rule has joined the service that it meant. */
export function isTakenOver(host: string, { namespace }: { readonly namespace: string }, prefix: string, meshDomain: string): boolean {
  return !namespace.startsWith(prefix) && isNameWithin(host, prefix, meshDomain);
}

/**
 * Reads a host as a user writes it in a resource of `namespace`: a short name
 * (no dot) means the service of that name in the resource's own namespace.
 * Source: istio.io/latest/docs/reference/config/networking/virtual-service/#Destination
 */
export function resolveHost(host: string, namespace: string, meshDomain: string): string {
  const lower = host.toLowerCase();
  if (lower === "*" || lower.includes(".") || lower.includes("*")) return lower;
  return canonicalHostname(lower, namespace, meshDomain);
}

/** The names that can mean a host, the best first: its own, then the wildcards above it, the longest first. */
export function* namesMeaning(host: string): Generator<string> {
  yield host;
  for (let dot = host.indexOf("."); dot !== -1; dot = host.indexOf(".", dot + 1)) yield `*${host.slice(dot)}`;
}

/** True where `host` is `pattern`, or lies under it when that is a wildcard (`*.example.com`). */
export function hostMatches(pattern: string, host: string): boolean {
  if (pattern === "*" || pattern === host) return true;
  return pattern.startsWith("*") && host.length >= pattern.length && host.endsWith(pattern.slice(1));
}
