import assert from "node:assert/strict";
import { readConfigEntries } from "../../discovery/registry/consul/import/read-entries.ts";
import { type Import, type ImportSettings, translateConfigEntries } from "../../discovery/registry/consul/import/translate.ts";

/** What `ironmesh import consul` takes unless told otherwise. */
export function importSettings(changes: Partial<ImportSettings> = {}): ImportSettings {
  return { namespace: "consul", meshDomain: "mesh.internal", trustDomain: "mesh.internal", serviceLabel: "app", datacenter: undefined, intentionDefault: undefined, ...changes };
}

/** The import of entries that are acceptable. */
export function importEntries(entries: readonly unknown[], changes: Partial<ImportSettings> = {}): Import {
  const read = readConfigEntries([{ origin: "test", value: entries }]);
  assert.ok(read.ok, read.ok ? "" : JSON.stringify(read.error));
  return translateConfigEntries(read.value, importSettings(changes));
}

/** A request between workloads of the namespace `consul`. */
export interface CalledRequest {
  /** The caller's, if it is another one. */
  readonly namespace?: string;
  readonly source: string;
  readonly destination: string;
  readonly path: string;
  readonly method: string;
}

/** An AuthorizationPolicy's specification, as far as the import writes any. */
export interface WrittenPolicy {
  readonly selector?: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly action: "ALLOW" | "DENY";
  readonly rules?: readonly { readonly from: readonly { readonly source: { readonly principals?: readonly string[]; readonly notPrincipals?: readonly string[] } }[]; readonly to?: readonly { readonly operation: Readonly<Record<string, readonly string[]>> }[] }[];
}

/** Istio's word: DENY wins, and where any ALLOW policy holds one must match. */
export function isAllowedByIstio(policies: readonly WrittenPolicy[], { namespace = "consul", source, destination, path, method }: CalledRequest): boolean {
  const principal = `mesh.internal/ns/${namespace}/sa/${source}`;
  const isOne = (patterns: readonly string[], value: string): boolean => patterns.some((pattern) => (pattern.endsWith("*") ? value.startsWith(pattern.slice(0, -1)) : pattern === value));
  const matches = ({ rules = [] }: WrittenPolicy): boolean =>
    rules.some(
      ({ from, to }) =>
        from.some(({ source: { principals, notPrincipals } }) => (principals === undefined || isOne(principals, principal)) && (notPrincipals === undefined || !isOne(notPrincipals, principal))) &&
        (to === undefined ||
          to.some(({ operation: { paths, notPaths, methods, notMethods } }) =>
            (paths === undefined || isOne(paths, path)) && (notPaths === undefined || !isOne(notPaths, path)) && (methods === undefined || isOne(methods, method)) && (notMethods === undefined || !isOne(notMethods, method)))),
    );
  const held = policies.filter(({ selector }) => selector === undefined || selector.matchLabels["app"] === destination);
  if (held.some((policy) => policy.action === "DENY" && matches(policy))) return false;
  const allow = held.filter(({ action }) => action === "ALLOW");
  return allow.length === 0 || allow.some(matches);
}

export function policiesOf(resources: readonly { readonly kind: string; readonly spec: unknown }[]): WrittenPolicy[] {
  return resources.filter(({ kind }) => kind === "AuthorizationPolicy").map(({ spec }) => spec as WrittenPolicy);
}
