import type { Change, Collection } from "../../base/collection.ts";
import { type AnyResource, type Kind, type ResourceKey, type ResourceOf, resourceKey } from "../../api/resource.ts";
import { isNameWithin, resolveHost } from "../../model/hostname.ts";
import type { RootNamespace } from "../../model/root-namespace.ts";
import type { Recorder } from "./derivation.ts";
import { type Claim, HostIndex } from "./host-index.ts";

/** What a derivation reads of the configuration; also what its changes are told as. */
const dependency = {
  routing: (kind: "VirtualService" | "DestinationRule", host: string): string => `${kind}@${host}`,
  policies: (namespace: string): string => `policies@${namespace}`,
  /** One resource as such: how a NACK finds the YAML behind it. */
  resource: (key: ResourceKey): string => `resource:${key}`,
} as const;

/** The configuration as builders ask for it. Every answer is recorded as a read. */
export interface ConfigReader {
  /** @param hosts every name of the service, whichever the resource was written for */
  virtualService(hosts: readonly string[], namespace: string): ResourceOf<"VirtualService"> | undefined;
  destinationRule(hosts: readonly string[], namespace: string): ResourceOf<"DestinationRule"> | undefined;
  /** Those of a namespace; selectors are the caller's to judge. */
  peerAuthentications(namespace: string): readonly ResourceOf<"PeerAuthentication">[];
  authorizationPolicies(namespace: string): readonly ResourceOf<"AuthorizationPolicy">[];
}

/** Keeps the accepted resources indexed by what builders look them up by. */
export class ConfigIndex {
  readonly #virtualServices: HostIndex<ResourceOf<"VirtualService">>;
  readonly #destinationRules: HostIndex<ResourceOf<"DestinationRule">>;
  readonly #policies = new Map<string, Map<ResourceKey, AnyResource>>();
  readonly #meshDomain: string;

  constructor(options: { readonly meshDomain: string; readonly roots: readonly RootNamespace[] }) {
    this.#meshDomain = options.meshDomain;
    this.#virtualServices = new HostIndex(options.roots);
    this.#destinationRules = new HostIndex(options.roots);
  }

  /** Takes changes and gives the dependencies that they touch. */
  apply(changes: readonly Change<AnyResource>[]): Set<string> {
    const touched = new Set<string>();
    for (const host of this.#virtualServices.apply(this.#claims(changes, "VirtualService", (spec) => spec.hosts ?? []))) {
      touched.add(dependency.routing("VirtualService", host.includes("*") ? "*" : host));
    }
    for (const host of this.#destinationRules.apply(this.#claims(changes, "DestinationRule", (spec) => [spec.host]))) {
      touched.add(dependency.routing("DestinationRule", host.includes("*") ? "*" : host));
    }
    for (const { key, before, after } of changes) {
      const policy = after ?? before;
      if (policy?.kind !== "PeerAuthentication" && policy?.kind !== "AuthorizationPolicy") continue;
      const { namespace } = policy.metadata;
      const table = this.#policies.get(namespace) ?? new Map<ResourceKey, AnyResource>();
      if (after === undefined) table.delete(key);
      else table.set(key, after);
      this.#policies.set(namespace, table);
      touched.add(dependency.policies(namespace));
    }
    return touched;
  }

  reader(record: Recorder): ConfigReader {
    const routing = <K extends "VirtualService" | "DestinationRule">(
      kind: K,
      index: HostIndex<ResourceOf<K>>,
      hosts: readonly string[],
      namespace: string,
    ): ResourceOf<K> | undefined => {
      for (const host of hosts) record(dependency.routing(kind, host));
      record(dependency.routing(kind, "*"));
      const found = index.find(hosts, namespace);
      if (found !== undefined) record(dependency.resource(resourceKey(found)));
      return found;
    };
    const policies = <K extends "PeerAuthentication" | "AuthorizationPolicy">(kind: K, namespace: string): ResourceOf<K>[] => {
      record(dependency.policies(namespace));
      const found = [...(this.#policies.get(namespace)?.values() ?? [])].filter((resource) => isOf(resource, kind));
      for (const resource of found) record(dependency.resource(resourceKey(resource)));
      return found;
    };
    return {
      virtualService: (hosts, namespace) => routing("VirtualService", this.#virtualServices, hosts, namespace),
      destinationRule: (hosts, namespace) => routing("DestinationRule", this.#destinationRules, hosts, namespace),
      peerAuthentications: (namespace) => policies("PeerAuthentication", namespace),
      authorizationPolicies: (namespace) => policies("AuthorizationPolicy", namespace),
    };
  }

  #claims<K extends Kind>(
    changes: readonly Change<AnyResource>[],
    kind: K,
    hostsOf: (spec: ResourceOf<K>["spec"]) => readonly string[],
  ): Change<Claim<ResourceOf<K>>>[] {
    const claim = (resource: AnyResource | undefined): Claim<ResourceOf<K>> | undefined => {
      if (resource === undefined || !isOf(resource, kind)) return undefined;
      const { namespace } = resource.metadata;
      const hosts = hostsOf(resource.spec).map((host) => resolveHost(host, namespace, this.#meshDomain));
      const { confinedTo: prefix } = resource;
      const confined = prefix === undefined ? undefined : { prefix, hosts: new Set(hosts.filter((host) => isNameWithin(host, prefix, this.#meshDomain))) };
      return { hosts, namespace, key: resourceKey(resource), resource, ...(confined === undefined ? {} : { confined }) };
    };
    return changes.flatMap(({ key, before, after }) => {
      const [was, is] = [claim(before), claim(after)];
      if (was === undefined && is === undefined) return [];
      return [{ key, ...(was === undefined ? {} : { before: was }), ...(is === undefined ? {} : { after: is }) }];
    });
  }
}

/** The configuration resources behind what a derivation read. */
export function resourcesRead(reads: Iterable<string>): ResourceKey[] {
  const prefix = dependency.resource("");
  return [...reads].filter((read) => read.startsWith(prefix)).map((read) => read.slice(prefix.length)).sort();
}

/** Feeds an index from a collection, present content first; the returned function ends it. */
export function followConfig(index: ConfigIndex, config: Collection<AnyResource>, touch: (dependencies: Set<string>) => void): () => void {
  touch(index.apply([...config.entries()].map(([key, after]) => ({ key, after }))));
  return config.subscribe((changes) => touch(index.apply(changes)));
}

function isOf<K extends Kind>(resource: AnyResource, kind: K): resource is ResourceOf<K> & AnyResource {
  return resource.kind === kind;
}
