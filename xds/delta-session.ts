import { GrpcError } from "../base/grpc/status.ts";
import type { DeltaDiscoveryRequest } from "../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { encodeResponse, type ResponseContent, type SentResponse, takeContent, takeRemovals } from "./delta-response.ts";
import { type Resource, routeConfigurationOf } from "./resource.ts";
import type { Changes } from "./resource-set.ts";
import { DEFAULT_MAX_NAMES, MAX_TYPES, type SessionOptions, type XdsSession } from "./stream-server.ts";
import {
  createSubscription,
  type Nack,
  dropPending,
  hasAdditions,
  isUnsettled,
  markChanged,
  removesInPlace,
  type Subscription,
  subscriptionStatus,
} from "./subscription.ts";
import { DELETED_AFTER, pushRank, TYPE_URLS, WAITS_FOR } from "./type-urls.ts";

export interface DeltaSessionOptions extends SessionOptions {
  /** Types that the client fetches by name even where it also says `*`: the `*` counts for nothing. */
  readonly onDemandTypes?: readonly string[];
  /** Marks the response that completes a wildcard type with the set's digest: our own client waits for it. */
  readonly marksCompleteness?: boolean;
  /** About this much is put into one response; 1 MiB unless told. */
  readonly maxResponseBytes?: number;
  /** How long referrers wait for the ACK of what they refer to; 5 s unless told. */
  readonly gateTimeoutMs?: number;
  /** How many parts of a refused response may be sent in search of the culprits; 64 unless told. What is left then counts as refused. */
  readonly maxRetryBatches?: number;
}

/** Delta xDS. (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds) */
export type DeltaSession = XdsSession<DeltaDiscoveryRequest>;

const MAX_UNACKNOWLEDGED = 16;
/** Transactions whose changes may wait until the stream has its turn. */
const MAX_UNREAD = 64;

export function createDeltaSession(options: DeltaSessionOptions): DeltaSession {
  const { view, clock, onDemandTypes = [], maxResponseBytes = 1 << 20, gateTimeoutMs = 5000, maxRetryBatches = 64, maxNames = DEFAULT_MAX_NAMES, onReady } = options;
  const subscriptions = new Map<string, Subscription>();
  let inPushOrder: Subscription[] = [];
  const sent = new Map<string, SentResponse>();
  /** Route configurations whose virtual hosts this stream gets unasked. */
  const tables = new Set<string>();
  /** Versions of virtual hosts that the client came with and that no table has claimed yet. */
  let carriedVirtualHosts = new Map<string, string>();
  let isFollowedByAssignments = false;
  let nonces = 0;
  let nameCount = 0;
  let cancelWakeUp: (() => void) | undefined;
  /** What transactions changed, shared with every other stream, until this one has its turn. */
  let unread: Changes[] = [];
  /** True while nothing waits to be sent: of hundreds of streams most are so most of the time, and need not be looked through. */
  let isQuiet = false;

  const wantsAll = (subscription: Subscription): boolean => subscription.isWildcard && !onDemandTypes.includes(subscription.typeUrl);
  const wants = (subscription: Subscription, name: string): boolean =>
    subscription.names.has(name) ||
    wantsAll(subscription) ||
    (subscription.typeUrl === TYPE_URLS.virtualHost && tables.has(routeConfigurationOf(name)));

  const pushTable = (table: string): void => {
    const virtualHosts = subscriptions.get(TYPE_URLS.virtualHost);
    // Whoever asked for all has them whether there is a table or not.
    if (virtualHosts === undefined || wantsAll(virtualHosts)) return;
    let isEmpty = true;
    for (const name of view.virtualHostsOf(table)) {
      isEmpty = false;
      if (carriedVirtualHosts.get(name) !== view.get(TYPE_URLS.virtualHost, name)?.version) markChanged(virtualHosts, name, view);
      carriedVirtualHosts.delete(name);
    }
    // Envoy keeps the listener waiting until something arrives for the table, be it the removal of what never was.
    if (isEmpty) virtualHosts.removals.add(`${table}/none`);
  };
  /** Follows whether a route configuration's virtual hosts travel by themselves. */
  const noteTable = (table: string, resource: Resource | undefined): void => {
    if (resource === undefined) return;
    if (resource.usesVhds !== true) tables.delete(table);
    else if (!tables.has(table)) {
      tables.add(table);
      pushTable(table);
    }
  };

  const mark = (subscription: Subscription, name: string): void => {
    markChanged(subscription, name, view);
    if (subscription.typeUrl === TYPE_URLS.routeConfiguration) noteTable(name, view.get(subscription.typeUrl, name));
  };
  const subscribe = (subscription: Subscription, name: string, heldVersion: string | undefined): void => {
    if (!subscription.names.has(name) && (nameCount += 1) > maxNames) {
      throw new GrpcError("RESOURCE_EXHAUSTED", `more than ${maxNames} resource names are subscribed`);
    }
    const resource = view.get(subscription.typeUrl, name);
    // The resource's own string is shared by all streams; the request's would be kept once for each.
    subscription.names.add(resource?.name ?? name);
    subscription.removals.delete(name);
    if (resource === undefined) subscription.absent.add(name);
    else if (heldVersion !== resource.version) subscription.upserts.add(resource.name);
    if (subscription.typeUrl === TYPE_URLS.routeConfiguration) noteTable(name, resource);
  };
  const subscribeAll = (subscription: Subscription, held: Readonly<Record<string, string>>): void => {
    subscription.isWildcard = true;
    if (!wantsAll(subscription)) return;
    let isReturning = false;
    for (const name of Object.keys(held)) {
      isReturning = true;
      if (view.get(subscription.typeUrl, name) === undefined) subscription.removals.add(name);
    }
    for (const resource of view.list(subscription.typeUrl)) {
      if (held[resource.name] !== resource.version) subscription.upserts.add(resource.name);
      if (subscription.typeUrl === TYPE_URLS.routeConfiguration) noteTable(resource.name, resource);
    }
    if (!isReturning || options.marksCompleteness === true) subscription.owesAnswer = true;
  };
  const unsubscribe = (subscription: Subscription, name: string): void => {
    if (name === "*") {
      subscription.isWildcard = false;
      for (const pending of [...subscription.upserts, ...subscription.removals]) {
        if (!wants(subscription, pending)) dropPending(subscription, pending);
      }
      return;
    }
    if (subscription.names.delete(name)) nameCount -= 1;
    if (wants(subscription, name)) {
      // The client drops what it unsubscribes by name: what the wildcard still covers must be told again.
      if (wantsAll(subscription)) mark(subscription, name);
      return;
    }
    dropPending(subscription, name);
    if (subscription.typeUrl === TYPE_URLS.routeConfiguration) tables.delete(name);
  };

  const open = (typeUrl: string, request: DeltaDiscoveryRequest): Subscription => {
    if (subscriptions.size >= MAX_TYPES) throw new GrpcError("RESOURCE_EXHAUSTED", `more than ${MAX_TYPES} types are subscribed`);
    const subscription = createSubscription(typeUrl);
    subscriptions.set(typeUrl, subscription);
    inPushOrder = [...subscriptions.values()].toSorted((a, b) => pushRank(a.typeUrl) - pushRank(b.typeUrl));
    const held = request.initialResourceVersions;
    // Thousands of names from each of thousands of clients that come back: nothing is made of them that nobody wants.
    const carried = options.onAck === undefined ? [] : Object.entries(held).map(([name, version]) => ({ name, version }));
    if (carried.length > 0) options.onAck?.({ typeUrl, resources: carried });
    if (typeUrl === TYPE_URLS.virtualHost) {
      // Envoy's first request for virtual hosts names nothing and means "as they come", never "all there are".
      carriedVirtualHosts = new Map(Object.entries(held));
      for (const name of Object.keys(held)) if (view.get(typeUrl, name) === undefined) subscription.removals.add(name);
      for (const table of tables) pushTable(table);
    } else if (request.resourceNamesSubscribe.length === 0) subscribeAll(subscription, held);
    return subscription;
  };

  const settle = (request: DeltaDiscoveryRequest): void => {
    const { responseNonce, errorDetail } = request;
    const response = sent.get(responseNonce);
    const subscription = response === undefined ? undefined : subscriptions.get(response.typeUrl);
    if (response === undefined || subscription === undefined || response.typeUrl !== request.typeUrl) return;
    sent.delete(responseNonce);
    subscription.unacknowledged -= 1;
    if (errorDetail === undefined) {
      if (subscription.rejected.size > 0) for (const name of response.names) subscription.rejected.delete(name);
      if (response.digest !== "") subscription.acknowledgedDigest = response.digest;
      options.onAck?.({ typeUrl: response.typeUrl, resources: contentsOf(response) });
    } else refuse(subscription, response, errorDetail.message);
  };
  /**
   * Envoy may drop a whole response for one bad resource, and does not say in a
   * way for programs which one: the halves are sent again by themselves until
   * the culprit stands alone. It is not sent again before it changes.
   */
  const refuse = (subscription: Subscription, response: SentResponse, message: string): void => {
    const { names, versions, absent } = response;
    // That something does not exist is nothing to refuse: it was lost with the rest, and is said again by itself.
    const stillAbsent = names.length === 0 ? [] : absent.filter((name) => subscription.names.has(name) && view.get(subscription.typeUrl, name) === undefined);
    for (const name of stillAbsent) subscription.absent.add(name);
    if (!response.isRetry) subscription.retriesLeft = maxRetryBatches;
    const isFinal = names.length <= 1 || subscription.retriesLeft < 2;
    if (isFinal) {
      names.forEach((name, index) => {
        const version = versions[index] ?? "";
        if (version !== "") subscription.rejected.set(name, { version, message });
      });
    } else {
      subscription.retriesLeft -= 2;
      const middle = Math.ceil(names.length / 2);
      subscription.retries.push(names.slice(0, middle), names.slice(middle));
    }
    subscription.lastNack = { typeUrl: response.typeUrl, message, resources: contentsOf(response), isFinal, atMs: clock.now() };
    options.onNack?.(subscription.lastNack);
  };

  /** True while what `typeUrl` refers to is on its way; asks to be woken when patience ends. */
  const isGated = (typeUrl: string): boolean => {
    const waitsFor = WAITS_FOR[typeUrl];
    if (waitsFor === undefined) return false;
    if (waitsFor.some((url) => hasAdditions(subscriptions.get(url) ?? NOTHING))) return true;
    const now = clock.elapsed();
    for (const response of sent.values()) {
      const leftMs = response.sentAtMs + gateTimeoutMs - now;
      if (leftMs <= 0 || !waitsFor.includes(response.typeUrl)) continue;
      cancelWakeUp?.();
      cancelWakeUp = clock.after(leftMs, onReady);
      return true;
    }
    if (typeUrl !== TYPE_URLS.virtualHost) return false;
    // Virtual hosts are only taken after their table.
    return hasAdditions(subscriptions.get(TYPE_URLS.routeConfiguration) ?? NOTHING);
  };
  const mayDelete = (typeUrl: string): boolean =>
    (DELETED_AFTER[typeUrl] ?? []).every((url) => {
      const referrer = subscriptions.get(url);
      return referrer === undefined || (!isUnsettled(referrer) && referrer.rejected.size === 0);
    });

  const respond = (subscription: Subscription, content: ResponseContent): readonly Uint8Array[] => {
    const { typeUrl } = subscription;
    nonces += 1;
    const nonce = nonces.toString(36);
    const isComplete = wantsAll(subscription) && !hasAdditions(subscription) && subscription.removals.size === 0;
    const digest = isComplete ? view.digest(typeUrl) : "";
    sent.set(nonce, { typeUrl, names: content.names, versions: content.versions, absent: content.absent, isRetry: content.isRetry, sentAtMs: clock.elapsed(), digest });
    subscription.unacknowledged += 1;
    subscription.wasSent = true;
    if (digest !== "") subscription.sentDigest = digest;
    if (typeUrl === TYPE_URLS.cluster) followWithAssignments(content.names);
    return encodeResponse(content, { typeUrl, nonce, systemVersionInfo: options.marksCompleteness === true ? digest : "" });
  };
  /** Envoy keeps a changed cluster cold until its endpoints arrive, and does not ask for them again. */
  const followWithAssignments = (clusterNames: readonly string[]): void => {
    const assignments = subscriptions.get(TYPE_URLS.clusterLoadAssignment);
    if (assignments === undefined) return;
    for (const name of clusterNames) {
      const assignment = view.get(TYPE_URLS.cluster, name)?.loadAssignmentName;
      if (assignment === undefined || !wants(assignments, assignment)) continue;
      isFollowedByAssignments = true;
      if (view.get(TYPE_URLS.clusterLoadAssignment, assignment) === undefined) assignments.absent.add(assignment);
      else markChanged(assignments, assignment, view);
    }
  };

  const nextSubscription = (): Subscription | undefined => {
    if (isFollowedByAssignments) {
      const assignments = subscriptions.get(TYPE_URLS.clusterLoadAssignment);
      if (assignments !== undefined && hasAdditions(assignments)) return assignments;
      isFollowedByAssignments = false;
    }
    return inPushOrder.find(
      (subscription) =>
        (hasAdditions(subscription) || (removesInPlace(subscription.typeUrl) && subscription.removals.size > 0)) &&
        !isGated(subscription.typeUrl),
    );
  };

  /** Marks what changed. By name only, so that it is the same as if it had been done at once. */
  const readChanges = (): void => {
    if (unread.length === 0) return;
    const transactions = unread;
    unread = [];
    for (const changes of transactions) {
      for (const [typeUrl, names] of changes) {
        const subscription = subscriptions.get(typeUrl);
        if (subscription === undefined) continue;
        for (const name of names) {
          if (!wants(subscription, name)) continue;
          mark(subscription, name);
          isQuiet = false;
        }
      }
    }
  };
  const stopWatching = view.watch((changes) => {
    unread.push(changes);
    if (unread.length > MAX_UNREAD) readChanges();
    onReady();
  });
  const isPending = (subscription: Subscription): boolean => hasAdditions(subscription) || subscription.removals.size > 0;

  return {
    receive(request) {
      const { typeUrl, resourceNamesSubscribe, resourceNamesUnsubscribe, initialResourceVersions } = request;
      if (typeUrl === "") throw new GrpcError("INVALID_ARGUMENT", "the request names no type");
      readChanges();
      settle(request);
      const known = subscriptions.get(typeUrl);
      const isPlainAck = known !== undefined && request.errorDetail === undefined && resourceNamesSubscribe.length === 0 && resourceNamesUnsubscribe.length === 0;
      if (isPlainAck && isQuiet) return;
      isQuiet = false;
      const subscription = known ?? open(typeUrl, request);
      for (const name of resourceNamesUnsubscribe) unsubscribe(subscription, name);
      for (const name of resourceNamesSubscribe) {
        if (name === "*") subscribeAll(subscription, initialResourceVersions);
        else subscribe(subscription, name, initialResourceVersions[name]);
      }
      onReady();
    },
    next() {
      readChanges();
      if (isQuiet || sent.size >= MAX_UNACKNOWLEDGED) return undefined;
      const subscription = nextSubscription();
      if (subscription !== undefined) return respond(subscription, takeContent(subscription, view, maxResponseBytes));
      for (const typeUrl of Object.keys(DELETED_AFTER)) {
        const deleting = subscriptions.get(typeUrl);
        if (deleting !== undefined && deleting.removals.size > 0 && mayDelete(typeUrl)) return respond(deleting, takeRemovals(deleting));
      }
      isQuiet = !inPushOrder.some(isPending);
      return undefined;
    },
    status() {
      readChanges();
      return inPushOrder.map((subscription) => subscriptionStatus(subscription, mayDelete(subscription.typeUrl)));
    },
    close() {
      stopWatching();
      cancelWakeUp?.();
    },
  };
}

const NOTHING = createSubscription("");

function contentsOf({ names, versions }: SentResponse): Nack["resources"] {
  return names.map((name, index) => ({ name, version: versions[index] ?? "" }));
}
