import { contentHash } from "../base/content-hash.ts";
import { GrpcError } from "../base/grpc/status.ts";
import type { DiscoveryRequest } from "../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { anyFrameOf, type Resource } from "./resource.ts";
import type { Changes, ResourceView } from "./resource-set.ts";
import { DEFAULT_MAX_NAMES, MAX_TYPES, type SessionOptions, type XdsSession } from "./stream-server.ts";
import { createSubscription, dropPending, type Subscription, subscriptionStatus } from "./subscription.ts";
import { pushRank, TYPE_URLS } from "./type-urls.ts";
import { encodeTexts } from "./wire.ts";

/**
 * State-of-the-world xDS. Every response of listeners and clusters holds all of
 * them: what is missing is gone. Of the other types, whose resources go with
 * what refers to them, the first response holds everything asked for and later
 * ones what is new.
 *
 * New things come before what refers to them, but nothing waits for an ACK of
 * another type: a client that must not lose a request while things change
 * speaks delta, as our agents do.
 * (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol)
 */
export type SotwSession = XdsSession<DiscoveryRequest>;

/** Types whose responses are complete, and for which asking for nothing at first means everything. */
const WHOLE_TYPES: ReadonlySet<string> = new Set([TYPE_URLS.cluster, TYPE_URLS.listener]);

/** What a client that never acknowledges may leave behind, for each type. */
const MAX_REMEMBERED = 16;

interface SentResponse {
  readonly resources: readonly Resource[];
  readonly version: string;
}

interface SotwSubscription extends Subscription {
  /** It has named something: from now on an empty list means nothing. */
  hasNamed: boolean;
  /** Of the last response. */
  nonce: string;
  /** What was refused is to be sent once more, because what the client complained of may be gone. */
  owesRepeat: boolean;
  /** By nonce, what is neither acknowledged nor refused. */
  readonly sent: Map<string, SentResponse>;
}

export function createSotwSession(options: SessionOptions): SotwSession {
  const { view, clock, maxNames = DEFAULT_MAX_NAMES, onReady } = options;
  const subscriptions = new Map<string, SotwSubscription>();
  let inPushOrder: SotwSubscription[] = [];
  let nonces = 0;
  let nameCount = 0;

  const open = (typeUrl: string): SotwSubscription => {
    if (subscriptions.size >= MAX_TYPES) throw new GrpcError("RESOURCE_EXHAUSTED", `more than ${MAX_TYPES} types are subscribed`);
    const subscription = { ...createSubscription(typeUrl), hasNamed: false, owesRepeat: false, nonce: "", sent: new Map<string, SentResponse>() };
    subscriptions.set(typeUrl, subscription);
    inPushOrder = [...subscriptions.values()].toSorted((a, b) => pushRank(a.typeUrl) - pushRank(b.typeUrl));
    return subscription;
  };
  const addAll = (subscription: SotwSubscription): void => {
    subscription.isWildcard = true;
    subscription.owesAnswer = true;
    for (const { name } of view.list(subscription.typeUrl)) subscription.upserts.add(name);
  };
  const add = (subscription: SotwSubscription, name: string): void => {
    if ((nameCount += 1) > maxNames) throw new GrpcError("RESOURCE_EXHAUSTED", `more than ${maxNames} resource names are subscribed`);
    const resource = view.get(subscription.typeUrl, name);
    // The resource's own string is shared by all streams; the request's would be kept once for each.
    subscription.names.add(resource?.name ?? name);
    // Also where it was sent before: the client may have dropped it in the meantime.
    subscription.owesAnswer = true;
    if (resource !== undefined) subscription.upserts.add(resource.name);
  };
  /**
   * A request says all that is wanted, not what is wanted besides.
   *
   * @param mayAdd false where it crossed a response: such a request is given no
   *   answer, the client says what it wants again when it has that response. That
   *   it has dropped something must be known at once, or it would never be sent again.
   */
  const subscribe = (subscription: SotwSubscription, asked: readonly string[], mayAdd: boolean): void => {
    const { typeUrl, names } = subscription;
    const wanted = new Set(asked);
    if (wanted.size > 0) subscription.hasNamed = true;
    const wantsAll = wanted.delete("*") || (!subscription.hasNamed && WHOLE_TYPES.has(typeUrl));
    if (!wantsAll) subscription.isWildcard = false;
    for (const name of names) {
      if (wanted.has(name)) continue;
      names.delete(name);
      nameCount -= 1;
    }
    if (mayAdd) {
      if (wantsAll && !subscription.isWildcard) addAll(subscription);
      for (const name of wanted) if (!names.has(name)) add(subscription, name);
    }
    for (const name of [...subscription.upserts, ...subscription.rejected.keys()]) if (!wants(subscription, name)) forget(subscription, name);
  };

  const settle = (subscription: SotwSubscription, { responseNonce, errorDetail }: DiscoveryRequest): void => {
    const { typeUrl, sent, rejected } = subscription;
    const response = sent.get(responseNonce);
    if (response === undefined) return;
    sent.delete(responseNonce);
    subscription.unacknowledged = sent.size;
    const { resources, version } = response;
    if (errorDetail === undefined) {
      for (const { name } of resources) rejected.delete(name);
      subscription.acknowledgedDigest = version;
      options.onAck?.({ typeUrl, resources });
      return;
    }
    // The client kept nothing of it, also of what it had no complaint about; and the culprit may be gone by now.
    const { message } = errorDetail;
    for (const { name, version: of } of resources) {
      if (wants(subscription, name) && view.get(typeUrl, name) !== undefined) rejected.set(name, { version: of, message });
      else subscription.owesRepeat = true;
    }
    // A part that was sent since does not hold what was lost with this one.
    if (!WHOLE_TYPES.has(typeUrl) && responseNonce !== subscription.nonce) subscription.owesRepeat = true;
    subscription.lastNack = { typeUrl, message, resources: resources.map(({ name, version: of }) => ({ name, version: of })), isFinal: true, atMs: clock.now() };
    options.onNack?.(subscription.lastNack);
  };

  /** @param version of everything that is wanted */
  const respond = (subscription: SotwSubscription, wanted: readonly Resource[], version: string): readonly Uint8Array[] => {
    const { typeUrl, upserts, removals, rejected, sent } = subscription;
    const changed = new Set([...upserts, ...rejected.keys()]);
    const resources = WHOLE_TYPES.has(typeUrl) ? wanted : wanted.filter(({ name }) => changed.has(name));
    upserts.clear();
    removals.clear();
    subscription.owesAnswer = false;
    subscription.owesRepeat = false;
    nonces += 1;
    const nonce = nonces.toString(36);
    subscription.nonce = nonce;
    sent.set(nonce, { resources, version });
    for (const oldest of sent.keys()) if (sent.size > MAX_REMEMBERED) sent.delete(oldest);
    subscription.unacknowledged = sent.size;
    subscription.wasSent = true;
    subscription.sentDigest = version;
    if (typeUrl === TYPE_URLS.cluster) followWithAssignments(changed);
    return encodeResponse(resources, { version, typeUrl, nonce });
  };
  /** Envoy keeps a changed cluster cold until its endpoints arrive, and its request for them looks like an ACK. */
  const followWithAssignments = (clusterNames: ReadonlySet<string>): void => {
    const assignments = subscriptions.get(TYPE_URLS.clusterLoadAssignment);
    if (assignments === undefined) return;
    for (const name of clusterNames) {
      const assignment = view.get(TYPE_URLS.cluster, name)?.loadAssignmentName;
      if (assignment === undefined || !wants(assignments, assignment)) continue;
      assignments.upserts.add(assignment);
      assignments.owesAnswer = true;
    }
  };

  const stopWatching = view.watch((changes: Changes) => {
    let isConcerned = false;
    for (const [typeUrl, names] of changes) {
      const subscription = subscriptions.get(typeUrl);
      if (subscription === undefined) continue;
      for (const name of names) {
        if (!wants(subscription, name)) continue;
        isConcerned = true;
        if (view.get(typeUrl, name) === undefined) noteRemoval(subscription, name);
        else subscription.upserts.add(name);
      }
    }
    if (isConcerned) onReady();
  });

  return {
    receive(request) {
      const { typeUrl, resourceNames, responseNonce } = request;
      if (typeUrl === "") throw new GrpcError("INVALID_ARGUMENT", "the request names no type");
      const known = subscriptions.get(typeUrl);
      if (known === undefined) subscribe(open(typeUrl), resourceNames, true);
      else {
        settle(known, request);
        subscribe(known, resourceNames, responseNonce === "" || responseNonce === known.nonce);
      }
      onReady();
    },
    next() {
      for (const subscription of inPushOrder) {
        const { upserts, removals, rejected, owesAnswer, unacknowledged } = subscription;
        const owesRepeat = subscription.owesRepeat && rejected.size > 0;
        const hasNews = upserts.size > 0 || removals.size > 0 || owesRepeat;
        // A client that wants more is answered; what changes waits until it has taken what was before.
        if (!owesAnswer && (!hasNews || unacknowledged > 0)) continue;
        const wanted = wantedOf(subscription, view);
        const version = versionOf(wanted);
        if (owesAnswer || owesRepeat || version !== subscription.sentDigest) return respond(subscription, wanted, version);
        // It changed, and changed back.
        upserts.clear();
        removals.clear();
      }
      return undefined;
    },
    status: () => inPushOrder.map((subscription) => subscriptionStatus(subscription)),
    close: stopWatching,
  };
}

function wants({ isWildcard, names }: Subscription, name: string): boolean {
  return isWildcard || names.has(name);
}

/** What exists of what is asked for. */
function wantedOf({ typeUrl, isWildcard, names }: Subscription, view: ResourceView): Resource[] {
  if (isWildcard) return [...view.list(typeUrl)];
  return [...names].flatMap((name) => view.get(typeUrl, name) ?? []);
}

/** Equal states have equal versions, in whatever order they came about. */
function versionOf(resources: readonly Resource[]): string {
  return contentHash(resources.map(({ name, version }) => `${name}\0${version}`).sort().join("\n"));
}

/** Forgets a name that is no longer wanted, or that is gone. */
function forget(subscription: SotwSubscription, name: string): void {
  const wasRefused = subscription.rejected.has(name);
  dropPending(subscription, name);
  // It may have been the culprit: what was refused along with it is sent again.
  if (wasRefused) subscription.owesRepeat = true;
}

/** Only whole types can say that something is gone. */
function noteRemoval(subscription: SotwSubscription, name: string): void {
  forget(subscription, name);
  if (WHOLE_TYPES.has(subscription.typeUrl)) subscription.removals.add(name);
}

/** Field numbers of envoy.service.discovery.v3.DiscoveryResponse. */
const FIELD = { versionInfo: 1, typeUrl: 4, nonce: 5 } as const;

function encodeResponse(
  resources: readonly Resource[],
  header: { readonly version: string; readonly typeUrl: string; readonly nonce: string },
): readonly Uint8Array[] {
  const texts = [[FIELD.versionInfo, header.version], [FIELD.typeUrl, header.typeUrl], [FIELD.nonce, header.nonce]] as const;
  return [...resources.map(anyFrameOf), encodeTexts(texts)];
}
