import { encodeAbsentResource } from "./resource.ts";
import type { ResourceView } from "./resource-set.ts";
import { type Subscription, removesInPlace } from "./subscription.ts";
import { TYPE_URLS } from "./type-urls.ts";
import { encodeTexts } from "./wire.ts";

/** What one response said, until it is acknowledged. */
export interface SentResponse {
  readonly typeUrl: string;
  readonly names: readonly string[];
  /** Beside `names`; empty for a removal. */
  readonly versions: readonly string[];
  /** What it said besides: these were asked for and do not exist. */
  readonly absent: readonly string[];
  readonly isRetry: boolean;
  readonly sentAtMs: number;
  /** The set's digest, where this response completed it. */
  readonly digest: string;
}

/** What goes into one response. */
export interface ResponseContent {
  /** Framed resources, shared with every other stream. */
  readonly frames: readonly Uint8Array[];
  readonly removed: readonly string[];
  readonly names: readonly string[];
  readonly versions: readonly string[];
  readonly absent: readonly string[];
  readonly isRetry: boolean;
}

/**
 * Takes the next response's worth off a subscription: up to `maxBytes` of
 * resources (one at least), in the order in which they were marked.
 */
export function takeContent(subscription: Subscription, view: ResourceView, maxBytes: number): ResponseContent {
  const { typeUrl, upserts, removals, absent, rejected, retries } = subscription;
  const frames: Uint8Array[] = [];
  const removed: string[] = [];
  const names: string[] = [];
  const versions: string[] = [];
  let bytes = 0;
  const remove = (name: string): void => {
    removed.push(name);
    names.push(name);
    versions.push("");
    rejected.delete(name);
    bytes += name.length;
  };
  const add = (name: string): void => {
    const resource = view.get(typeUrl, name);
    if (resource === undefined) {
      if (removesInPlace(typeUrl)) remove(name);
      else removals.add(name);
      return;
    }
    frames.push(resource.encoded);
    names.push(name);
    versions.push(resource.version);
    bytes += resource.encoded.length;
  };

  subscription.owesAnswer = false;
  const batch = retries.shift();
  if (batch !== undefined) {
    for (const name of batch) {
      upserts.delete(name);
      add(name);
    }
    return { frames, removed, names, versions, absent: [], isRetry: true };
  }
  const missing = [...absent];
  absent.clear();
  for (const name of missing) {
    // A removal would leave an on-demand request for a virtual host hanging.
    if (typeUrl === TYPE_URLS.virtualHost) frames.push(encodeAbsentResource(name));
    else removed.push(name);
  }
  if (removesInPlace(typeUrl)) {
    for (const name of removals) remove(name);
    removals.clear();
  }
  let taken = 0;
  for (const name of upserts) {
    if (bytes >= maxBytes) break;
    add(name);
    taken += 1;
  }
  if (taken === upserts.size) upserts.clear();
  else dropFirst(upserts, taken);
  return { frames, removed, names, versions, absent: missing, isRetry: false };
}

function dropFirst(names: Set<string>, count: number): void {
  let left = count;
  for (const name of names) {
    if (left === 0) return;
    left -= 1;
    names.delete(name);
  }
}

/** Takes all deletions of a type that deletes by itself. */
export function takeRemovals(subscription: Subscription): ResponseContent {
  const names = [...subscription.removals];
  subscription.removals.clear();
  for (const name of names) subscription.rejected.delete(name);
  return { frames: [], removed: names, names, versions: names.map(() => ""), absent: [], isRetry: false };
}

const FIELD = { systemVersionInfo: 1, typeUrl: 4, nonce: 5, removedResources: 6 } as const;

/** Frames a DeltaDiscoveryResponse around resources that are framed already. @returns its bytes in pieces */
export function encodeResponse(
  content: ResponseContent,
  header: { readonly typeUrl: string; readonly nonce: string; readonly systemVersionInfo: string },
): readonly Uint8Array[] {
  const texts = encodeTexts([
    [FIELD.typeUrl, header.typeUrl],
    [FIELD.nonce, header.nonce],
    ...content.removed.map((name) => [FIELD.removedResources, name] as const),
    ...(header.systemVersionInfo === "" ? [] : [[FIELD.systemVersionInfo, header.systemVersionInfo] as const]),
  ]);
  return [...content.frames, texts];
}
