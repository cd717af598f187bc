import type { Ack, Nack, SubscriptionStatus } from "../xds/subscription.ts";
import type { Resource } from "../xds/resource.ts";
import { createResourceSet, unionOf } from "../xds/resource-set.ts";
import type { ResourceSet, ResourceView } from "../xds/resource-set.ts";
import { DELETED_AFTER } from "../xds/type-urls.ts";
import { ownVersion } from "./ownership/inbound-places.ts";

/** What Envoy refuses, in its own words. */
export interface EnvoyRejection {
  readonly typeUrl: string;
  readonly name: string;
  readonly version: string;
  readonly message: string;
}

/**
 * What Envoy took of each resource, and what it is told instead of what it
 * refuses. An Envoy that starts anew has nothing to fall back to: it gets what
 * the one before took last, and not again what is known to be refused.
 */
export interface StandIns {
  /** The control plane's, but for what Envoy refuses: of that what it took last, with all that this may refer to. */
  readonly inForce: ResourceView;
  /** What Envoy is seen to have, by type and name: what it took last of what it refuses, or nothing. */
  accepted(): ReadonlyMap<string, Resource>;
  /** Also while something stands in. */
  rejections(): readonly EnvoyRejection[];
  /** A stream of an Envoy of this build opens. Another one than before has not refused anything yet. */
  opened(build: string): void;
  /** No Envoy is there to be told anything. */
  closed(): void;
  /** Envoy has this now, or came with it. What it has and the agent has not has nothing to stand in for it: that would be older. */
  acknowledged(ack: Ack): void;
  refused(nack: Nack): void;
  /** Envoy serves and has answered to everything: it has what it did not refuse. */
  settled(envoy: readonly SubscriptionStatus[]): void;
}

/** What changes faster than Envoy answers: what it takes of the versions before these is not known. */
const MAX_UNANSWERED = 4;

/**
 * @param resources the control plane's, which change when they will. Call this before anything else watches them
 * @param stored what Envoy took in an earlier life of the agent
 */
export function createStandIns(resources: ResourceSet, types: readonly string[], stored: readonly Resource[]): StandIns {
  const set = createResourceSet();
  const inForce = unionOf([set, resources]);
  const refused = new Map<string, EnvoyRejection>();
  let accepted = new Map(stored.map((resource) => [keyOf(resource), resource]));
  /** What was in force of each since Envoy answered, the oldest first: it may have taken what was replaced before it said so. */
  const unanswered = new Map<string, Resource[]>();
  let knownBuild: string | undefined;
  let isTold = false;

  const remember = (resource: Resource): void => {
    const key = keyOf(resource);
    const versions = unanswered.get(key) ?? [];
    if (!versions.includes(resource)) unanswered.set(key, [...versions, resource].slice(-MAX_UNANSWERED));
  };
  const take = (key: string, version: string, current: Resource | undefined): void => {
    const versions = unanswered.get(key) ?? [];
    const at = versions.findIndex((resource) => resource.version === version);
    const taken = [versions[at], current, accepted.get(key)].find((resource) => resource?.version === version);
    if (taken === undefined) accepted.delete(key);
    else accepted.set(key, taken);
    const later = versions.slice(at + 1);
    if (later.length === 0) unanswered.delete(key);
    else unanswered.set(key, later);
  };
  const refresh = (): void => {
    for (const [key, { typeUrl, name, version }] of refused) if (resources.get(typeUrl, name)?.version !== version) refused.delete(key);
    const standing = [...refused].flatMap(([key, { version }]) => {
      const earlier = accepted.get(key);
      return earlier === undefined || earlier.version === version ? [] : [earlier];
    });
    const heldTypes = typesBehind(standing);
    const held = heldTypes.size === 0 ? [] : accepted.values().filter(({ typeUrl, name }) => heldTypes.has(typeUrl) && resources.get(typeUrl, name) === undefined);
    const all = [...standing, ...held];
    set.update((transaction) => {
      for (const type of types) transaction.replaceAll(type, all.filter(({ typeUrl }) => typeUrl === type));
    });
  };
  // For as long as the resources live.
  resources.watch(() => {
    if (refused.size > 0) refresh();
  });
  inForce.watch((changes) => {
    if (!isTold) return;
    for (const [typeUrl, names] of changes) {
      for (const name of names) {
        const resource = inForce.get(typeUrl, name);
        if (resource !== undefined) remember(resource);
      }
    }
  });

  return {
    inForce,
    accepted: () => accepted,
    rejections: () => [...refused.values()],
    opened(build) {
      isTold = true;
      const isOther = knownBuild !== undefined && knownBuild !== build;
      knownBuild = build;
      if (isOther && refused.size > 0) {
        refused.clear();
        refresh();
      }
      for (const type of types) for (const resource of inForce.list(type)) remember(resource);
    },
    closed() {
      isTold = false;
      unanswered.clear();
    },
    acknowledged({ typeUrl, resources: taken }) {
      let isMended = false;
      for (const { name, version } of taken) {
        const key = keyOf({ typeUrl, name });
        take(key, ownVersion(version), inForce.get(typeUrl, name));
        if (refused.get(key)?.version === ownVersion(version)) isMended = refused.delete(key) || isMended;
      }
      if (isMended) refresh();
    },
    refused({ typeUrl, message, isFinal, resources: culprits }) {
      if (!isFinal) return;
      for (const { name, version } of culprits) {
        if (version === "" || resources.get(typeUrl, name)?.version !== ownVersion(version)) continue;
        refused.set(keyOf({ typeUrl, name }), { typeUrl, name, version: ownVersion(version), message });
      }
      refresh();
    },
    settled(envoy) {
      accepted = acceptedResources(types.flatMap((type) => [...inForce.list(type)]), accepted, envoy);
      unanswered.clear();
    },
  };
}

/** What may be referred to by resources of these, directly or not: the order in which Envoy is told of deletions knows. */
function typesBehind(referrers: readonly Resource[]): ReadonlySet<string> {
  const from = new Set(referrers.map(({ typeUrl }) => typeUrl));
  const behind = new Set<string>();
  // In the order of deletion: what is referred to comes after what refers to it.
  for (const [type, after] of Object.entries(DELETED_AFTER)) {
    if (after.some((url) => from.has(url) || behind.has(url))) behind.add(type);
  }
  return behind;
}

/**
 * What Envoy has of `current`, by type and name. In the place of what it refused stands what it took before, or
 * nothing; and what is gone but held back from removal, because something that was refused may refer to it, is there
 * still.
 */
export function acceptedResources(current: readonly Resource[], before: ReadonlyMap<string, Resource>, envoy: readonly SubscriptionStatus[]): Map<string, Resource> {
  const accepted = new Map(current.map((resource) => [keyOf(resource), resource]));
  for (const { typeUrl, rejected, pending } of envoy) {
    for (const { name, version } of rejected) {
      const key = keyOf({ typeUrl, name });
      if (accepted.get(key)?.version !== version) continue;
      const earlier = before.get(key);
      if (earlier === undefined) accepted.delete(key);
      else accepted.set(key, earlier);
    }
    if (pending === 0) continue;
    for (const [key, resource] of before) if (resource.typeUrl === typeUrl && !accepted.has(key)) accepted.set(key, resource);
  }
  return accepted;
}

function keyOf({ typeUrl, name }: Pick<Resource, "typeUrl" | "name">): string {
  return `${typeUrl}\n${name}`;
}
