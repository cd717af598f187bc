import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { backoffDelay, type BackoffPolicy } from "../base/backoff.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { messageOf } from "../base/coded-error.ts";
import type { ClientStream, GrpcClient } from "../base/grpc/client.ts";
import { GRPC_STATUS, GrpcError } from "../base/grpc/status.ts";
import type { NodeSchema } from "../proto/gen/envoy/config/core/v3/base_pb.js";
import {
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from "../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { DELTA_ADS_PATH } from "./delta-server.ts";
import { createResource, type Resource } from "./resource.ts";
import type { ResourceSet } from "./resource-set.ts";

/** One response, understood, before it counts. */
export interface Update {
  readonly typeUrl: string;
  readonly resources: readonly Resource[];
  readonly removed: readonly string[];
}

/** How the client stands to its server. */
export interface DeltaClientState {
  /** `synced`: the set is what the server has; `syncing`: connected, the set is still the old one; `waiting`: between two attempts. */
  readonly phase: "connecting" | "syncing" | "synced" | "waiting" | "closed";
  readonly sinceMs: number;
  /** Attempts since the last time that it was synced. */
  readonly attempts: number;
  /** Why the last stream ended. */
  readonly error: Error | undefined;
}

export interface DeltaClientOptions {
  /** The connection; its owner closes it. Its keepalive finds a server that is gone. */
  readonly client: GrpcClient;
  /** Who we say we are; asked anew for every stream. */
  readonly node: () => MessageInitShape<typeof NodeSchema>;
  /** Each is subscribed as a whole. */
  readonly types: readonly string[];
  /** Is made equal to the server's. What it holds at the start (the last known good) is not fetched again. */
  readonly set: ResourceSet;
  /** Judges a response before it counts: the words of the refusal, or undefined. */
  readonly accept?: (update: Update) => string | undefined;
  /**
   * What the set must not lose once it has it. While the server does not have it (yet, or any more) the set stays as it
   * is; once it has it again, all is asked for anew.
   */
  readonly anchor?: Pick<Resource, "typeUrl" | "name">;
  readonly onState?: (state: DeltaClientState) => void;
  readonly clock?: Clock;
  readonly backoff?: BackoffPolicy;
  /** A server that marks no completeness is taken to be complete when it has answered for every type and was silent for this long; 10 s unless told. */
  readonly completenessTimeoutMs?: number;
}

export interface DeltaClient {
  state(): DeltaClientState;
  /** Ends the stream. The set stays as it is. */
  close(): Promise<void>;
}

/**
 * Keeps a full copy of some types of a server's resources. After a (re)connect
 * changes are staged until the server has said everything, and then applied in
 * one transaction, so that the set is one consistent state at any time; later
 * ones are applied in the server's order (make before break). While there is
 * no server the set stays as it is.
 */
export function startDeltaClient(options: DeltaClientOptions): DeltaClient {
  const { client, clock = systemClock, backoff = { baseMs: 500, maxMs: 15_000 }, onState } = options;
  const closing = new AbortController();
  let state: DeltaClientState = { phase: "connecting", sinceMs: clock.now(), attempts: 0, error: undefined };
  const enter = (phase: DeltaClientState["phase"], change: Partial<DeltaClientState> = {}): void => {
    state = { ...state, ...change, phase, sinceMs: clock.now() };
    onState?.(state);
  };

  const attempt = async (): Promise<"ended" | "again"> => {
    const stream = await client.stream(DELTA_ADS_PATH, { signal: closing.signal });
    try {
      enter("syncing");
      return await runStream(
        stream,
        options,
        clock,
        () => enter("synced", { attempts: 0, error: undefined }),
        () => enter("syncing"),
      );
    } finally {
      stream.cancel();
    }
  };
  const run = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      try {
        if ((await attempt()) === "again") continue;
        enter("waiting", { error: new GrpcError("UNAVAILABLE", "the server ended the stream") });
      } catch (error) {
        if (closing.signal.aborted) break;
        enter("waiting", { error: error instanceof Error ? error : new Error(messageOf(error)) });
      }
      await pause(clock, backoffDelay(backoff, state.attempts), closing.signal);
      if (!closing.signal.aborted) enter("connecting", { attempts: state.attempts + 1 });
    }
    enter("closed");
  };
  const running = run();

  return {
    state: () => state,
    close() {
      closing.abort(new GrpcError("CANCELLED", "the client is closing"));
      return running;
    },
  };
}

function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const cancel = clock.after(delayMs, () => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    });
    const onAbort = (): void => {
      cancel();
      resolve();
    };
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

async function runStream(stream: ClientStream, options: DeltaClientOptions, clock: Clock, onSynced: () => void, onHeld: () => void): Promise<"ended" | "again"> {
  const { node, types, set, accept, anchor, completenessTimeoutMs = 10_000 } = options;
  const incomplete = new Set(types);
  const unanswered = new Set(types);
  let cancelPatience: (() => void) | undefined;
  let staged: Update[] | undefined = [];
  let isHeld = false;
  const apply = (updates: readonly Update[]): void => {
    set.update((transaction) => {
      for (const { typeUrl, resources, removed } of updates) {
        for (const resource of resources) transaction.upsert(resource);
        for (const name of removed) transaction.remove(typeUrl, name);
      }
    });
  };
  const complete = (): void => {
    if (staged === undefined || isHeld) return;
    const all = staged;
    staged = undefined;
    apply(all);
    onSynced();
  };

  for (const [index, typeUrl] of types.entries()) {
    const initialResourceVersions = Object.fromEntries([...set.list(typeUrl)].map(({ name, version }) => [name, version]));
    const request = { typeUrl, resourceNamesSubscribe: ["*"], initialResourceVersions, ...(index === 0 ? { node: node() } : {}) };
    await stream.write(toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, request)));
  }
  try {
    for await (const message of stream.messages) {
      const response = fromBinary(DeltaDiscoveryResponseSchema, message, { readUnknownFields: false });
      if (!types.includes(response.typeUrl)) throw new GrpcError("INTERNAL", `the server sent ${response.typeUrl}, which nobody asked for`);
      const update = updateOf(response);
      const refusal = typeof update === "string" ? update : accept?.(update);
      if (typeof update !== "string" && refusal === undefined) {
        if (isHeld && has(update, anchor)) return "again";
        if (!isHeld && removes(update, anchor) && anchor !== undefined && set.get(anchor.typeUrl, anchor.name) !== undefined) {
          isHeld = true;
          onHeld();
        }
        if (isHeld) staged = [];
        else if (staged === undefined) apply([update]);
        else staged.push(update);
      }
      await stream.write(answerTo(response, refusal));
      if (response.systemVersionInfo !== "") incomplete.delete(response.typeUrl);
      unanswered.delete(response.typeUrl);
      if (incomplete.size === 0) complete();
      else if (unanswered.size === 0) {
        cancelPatience?.();
        cancelPatience = clock.after(completenessTimeoutMs, complete);
      }
    }
    return "ended";
  } finally {
    cancelPatience?.();
  }
}

type Anchor = DeltaClientOptions["anchor"];

function has({ typeUrl, resources }: Update, anchor: Anchor): boolean {
  return typeUrl === anchor?.typeUrl && resources.some(({ name }) => name === anchor.name);
}

function removes({ typeUrl, removed }: Update, anchor: Anchor): boolean {
  return typeUrl === anchor?.typeUrl && removed.includes(anchor.name);
}

/** @returns the update, or what is wrong with the response */
function updateOf(response: DeltaDiscoveryResponse): Update | string {
  const { typeUrl } = response;
  const resources: Resource[] = [];
  const removed = [...response.removedResources];
  for (const { name, version, resource } of response.resources) {
    if (resource === undefined) removed.push(name);
    else if (resource.typeUrl !== typeUrl) return `${name} is a ${resource.typeUrl} in a response of ${typeUrl}`;
    else resources.push(createResource(typeUrl, name, resource.value, version));
  }
  return { typeUrl, resources, removed };
}

function answerTo({ typeUrl, nonce }: DeltaDiscoveryResponse, refusal: string | undefined): Uint8Array {
  const request = create(DeltaDiscoveryRequestSchema, {
    typeUrl,
    responseNonce: nonce,
    ...(refusal === undefined ? {} : { errorDetail: { code: GRPC_STATUS.INVALID_ARGUMENT, message: refusal } }),
  });
  return toBinary(DeltaDiscoveryRequestSchema, request);
}
