import type { ResourceView } from "./resource-set.ts";
import { DELETED_AFTER } from "./type-urls.ts";

/** A resource that the client refused, and in which words. */
export interface Rejection {
  readonly version: string;
  readonly message: string;
}

/** Part of a refused response, to be sent again by itself. */
export type RetryBatch = readonly string[];

/**
 * What one stream wants of one type and what it still has to be told. Names
 * only: the resources are looked up when they are sent, so that many changes
 * of one resource are one push, and a stream in sync holds no versions.
 */
export interface Subscription {
  readonly typeUrl: string;
  /** All resources of the type, by `*` or by an empty first request. */
  isWildcard: boolean;
  /** What was asked for by name. */
  readonly names: Set<string>;
  /** Exist and must be sent. */
  readonly upserts: Set<string>;
  /** Are gone and must be removed. */
  readonly removals: Set<string>;
  /** Were asked for and do not exist: to be said at once. */
  readonly absent: Set<string>;
  /** A response is owed even if there is nothing to say. */
  owesAnswer: boolean;
  readonly retries: RetryBatch[];
  /** How many more batches may be sent in search of the culprit. */
  retriesLeft: number;
  /** Responses that are neither acknowledged nor refused. */
  unacknowledged: number;
  readonly rejected: Map<string, Rejection>;
  wasSent: boolean;
  sentDigest: string;
  acknowledgedDigest: string;
  lastNack: Nack | undefined;
}

/** What the other side acknowledged, or came with. */
export interface Ack {
  readonly typeUrl: string;
  /** What was in the response, or is in its first request; an empty version is a removal. */
  readonly resources: readonly { readonly name: string; readonly version: string }[];
}

/** A response that the client refused. */
export interface Nack {
  readonly typeUrl: string;
  /** In the client's own words. */
  readonly message: string;
  /** What was in the response; an empty version is a removal. */
  readonly resources: readonly { readonly name: string; readonly version: string }[];
  /** False while the culprit is still searched for by sending parts of the response again. */
  readonly isFinal: boolean;
  readonly atMs: number;
}

export function createSubscription(typeUrl: string): Subscription {
  return {
    typeUrl,
    isWildcard: false,
    names: new Set(),
    upserts: new Set(),
    removals: new Set(),
    absent: new Set(),
    owesAnswer: false,
    retries: [],
    retriesLeft: 0,
    unacknowledged: 0,
    rejected: new Map(),
    wasSent: false,
    sentDigest: "",
    acknowledgedDigest: "",
    lastNack: undefined,
  };
}

/** Notes that a resource must be told anew, unless it is what the client has refused already. */
export function markChanged(subscription: Subscription, name: string, view: ResourceView): void {
  const { typeUrl, upserts, removals, absent, rejected } = subscription;
  absent.delete(name);
  const resource = view.get(typeUrl, name);
  if (resource === undefined) {
    upserts.delete(name);
    removals.add(name);
    return;
  }
  removals.delete(name);
  if (rejected.get(name)?.version === resource.version) upserts.delete(name);
  else upserts.add(name);
}

/** Forgets what was to be said of a name that nobody wants any more. */
export function dropPending(subscription: Subscription, name: string): void {
  subscription.upserts.delete(name);
  subscription.removals.delete(name);
  subscription.absent.delete(name);
  subscription.rejected.delete(name);
}

/** True where deletions travel in the same response as changes. */
export function removesInPlace(typeUrl: string): boolean {
  return DELETED_AFTER[typeUrl] === undefined;
}

export function hasAdditions({ upserts, absent, retries, owesAnswer }: Subscription): boolean {
  return owesAnswer || upserts.size > 0 || absent.size > 0 || retries.length > 0;
}

/** True while the client does not have everything that was decided to be sent. */
export function isUnsettled(subscription: Subscription): boolean {
  return hasAdditions(subscription) || subscription.removals.size > 0 || subscription.unacknowledged > 0;
}

/** How far a client is with one type. */
export interface SubscriptionStatus {
  readonly typeUrl: string;
  readonly state: "NOT SENT" | "SYNCED" | "STALE" | "REJECTED";
  /** `*`, or how many names are subscribed. */
  readonly subscribed: "*" | number;
  /** Names that wait to be sent. */
  readonly pending: number;
  readonly unacknowledged: number;
  /** The client was told all that it can be told now and has answered; it may have refused some of it. */
  readonly isSettled: boolean;
  /** Digests of the whole set as it was sent and acknowledged last; empty for "not yet", and while a push is split. */
  readonly sentDigest: string;
  readonly acknowledgedDigest: string;
  readonly rejected: readonly { readonly name: string; readonly version: string; readonly message: string }[];
  readonly lastNack: Nack | undefined;
}

/** @param mayRemove false while what refers to the type holds its removals back */
export function subscriptionStatus(subscription: Subscription, mayRemove = true): SubscriptionStatus {
  const { typeUrl, isWildcard, names, upserts, removals, rejected, wasSent, unacknowledged } = subscription;
  const { sentDigest, acknowledgedDigest, lastNack } = subscription;
  return {
    typeUrl,
    state: rejected.size > 0 ? "REJECTED" : isUnsettled(subscription) ? "STALE" : wasSent ? "SYNCED" : "NOT SENT",
    subscribed: isWildcard ? "*" : names.size,
    pending: upserts.size + removals.size,
    unacknowledged,
    isSettled: !hasAdditions(subscription) && unacknowledged === 0 && (removals.size === 0 || !mayRemove),
    sentDigest,
    acknowledgedDigest,
    rejected: [...rejected].map(([name, rejection]) => ({ name, ...rejection })),
    lastNack,
  };
}
