import type { Clock } from "../../base/clock.ts";
import { CodedError } from "../../base/coded-error.ts";
import type { Peer } from "../../base/grpc/call.ts";
import type { Metadata } from "../../base/grpc/metadata.ts";
import { GrpcError } from "../../base/grpc/status.ts";
import type { Logger } from "../../base/logger.ts";

/** The metadata of every call of an agent: an id that its process made when it started. */
export const SESSION_KEY = "ironmesh-session";

/** A call, by whose agent: one of no session of its own is of the session that has no name. */
export interface SessionCaller {
  readonly hostId: string;
  readonly session: string;
  readonly peer: Peer;
}

/** A second agent of a host, kept out while the first one lives. */
export interface TurnedAway {
  readonly address: string;
  readonly liveAddress: string;
  readonly sinceMs: number;
}

/**
 * Lets one agent at a time speak for a host. A second one, as of a machine that
 * was copied with its state, is refused for as long as the first one answers.
 * An agent that came back is a second one too: the first is gone then, or does
 * not answer, and its streams are ended.
 */
export interface HostSessions {
  /** False where nothing depends on who calls: all that speaks for the host is of the caller's session. */
  isContested(caller: SessionCaller): boolean;
  /** For a call. @throws CodedError MESH_HOST_TWICE */
  check(caller: SessionCaller): Promise<void>;
  /** For a stream. @returns what to call when it has ended. @throws CodedError MESH_HOST_TWICE */
  open(caller: SessionCaller, end: (reason: Error) => void): Promise<() => void>;
  /** Those that came lately. */
  turnedAway(hostId: string): readonly TurnedAway[];
}

export interface HostSessionsOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told each time. */
  readonly onRefused: (caller: SessionCaller, failure: CodedError) => void;
}

/** An agent may be busy for this long, with a large configuration or on a slow machine. */
const ANSWER_WITHIN_MS = 5_000;
/** An answer counts for this long: who comes again and again is no work. */
const ANSWER_COUNTS_MS = 1_000;
/** Agents come back within 15 seconds. */
const LISTED_MS = 60_000;
const MAX_LISTED = 8;

interface LiveStream {
  readonly session: string;
  readonly peer: Peer;
  readonly end: (reason: Error) => void;
  answeredAtMs: number;
  /** While it is asked. */
  asking: Promise<boolean> | undefined;
  hear: (() => void) | undefined;
}

export function createHostSessions({ clock, logger, onRefused }: HostSessionsOptions): HostSessions {
  const live = new Map<string, Set<LiveStream>>();
  const turns = new Map<string, Promise<unknown>>();
  /** By host and then session; the one that came last is at the end. */
  const refused = new Map<string, Map<string, TurnedAway & { readonly lastMs: number }>>();

  const remove = (hostId: string, stream: LiveStream): void => {
    const streams = live.get(hostId);
    if (streams?.delete(stream) === true && streams.size === 0) live.delete(hostId);
  };
  const ask = async (stream: LiveStream): Promise<boolean> => {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    stream.hear = () => resolve(true);
    const cancel = clock.after(ANSWER_WITHIN_MS, () => resolve(false));
    void stream.peer.ping().then(resolve);
    const isAlive = await promise;
    cancel();
    stream.asking = undefined;
    if (isAlive) stream.answeredAtMs = clock.elapsed();
    return isAlive;
  };
  const answers = (stream: LiveStream): Promise<boolean> => (clock.elapsed() - stream.answeredAtMs < ANSWER_COUNTS_MS ? Promise.resolve(true) : (stream.asking ??= ask(stream)));
  /** Any call of an agent is an answer of it: its connection may be lost, and it comes on another one. */
  const hear = ({ hostId, session }: SessionCaller): void => {
    for (const stream of live.get(hostId) ?? []) if (stream.session === session) stream.hear?.();
  };
  const refuse = (caller: SessionCaller, by: LiveStream): CodedError => {
    const { hostId, session, peer } = caller;
    const [address, liveAddress] = [addressOf(peer), addressOf(by.peer)];
    const known = refused.get(hostId) ?? new Map<string, TurnedAway & { readonly lastMs: number }>();
    const before = known.get(session);
    known.delete(session);
    known.set(session, { address, liveAddress, sinceMs: before?.sinceMs ?? clock.now(), lastMs: clock.elapsed() });
    for (const oldest of [...known.keys()].slice(0, Math.max(0, known.size - MAX_LISTED))) known.delete(oldest);
    refused.set(hostId, known);
    if (before === undefined) logger.warn({ hostId, peer: peer.remoteAddress, live: by.peer.remoteAddress }, "a second agent of a host is quarantined: the first one answers");
    const failure = new CodedError("MESH_HOST_TWICE", `host ${hostId} is live at ${liveAddress} already: the agent at ${address} has a copy of its state. Stop the one that is the copy, empty its state directory, and enrol it with a token of its own`, { facts: { hostId, address, liveAddress } });
    onRefused(caller, failure);
    return failure;
  };
  const judge = async (caller: SessionCaller): Promise<void> => {
    const { hostId, session } = caller;
    const others = (): LiveStream[] => [...(live.get(hostId) ?? [])].filter((stream) => stream.session !== session);
    // More than once where one opens meanwhile.
    for (let asked = others(); asked.length > 0; asked = others()) {
      const answered = await Promise.all(asked.map(answers));
      const first = asked.find((stream, index) => answered[index] === true && live.get(hostId)?.has(stream) === true);
      if (first !== undefined) throw refuse(caller, first);
      for (const stream of asked) {
        remove(hostId, stream);
        stream.end(new GrpcError("UNAVAILABLE", "this agent did not answer, and another one of its host came"));
      }
    }
    const known = refused.get(hostId);
    if (known?.delete(session) === true) logger.info({ hostId, peer: caller.peer.remoteAddress }, "an agent that was quarantined is let in: the one before is gone");
    if (known?.size === 0) refused.delete(hostId);
  };
  /** Two that come at the same time must not both be let in. */
  const inTurn = async (hostId: string, work: () => Promise<void>): Promise<void> => {
    const mine = (turns.get(hostId) ?? Promise.resolve()).then(work);
    const settled = mine.catch(() => undefined);
    turns.set(hostId, settled);
    try {
      await mine;
    } finally {
      if (turns.get(hostId) === settled) turns.delete(hostId);
    }
  };
  return {
    isContested({ hostId, session }) {
      const streams = [...(live.get(hostId) ?? [])];
      return refused.get(hostId)?.has(session) === true || streams.some((stream) => stream.session !== session || stream.asking !== undefined);
    },
    async check(caller) {
      hear(caller);
      await judge(caller);
    },
    async open(caller, end) {
      hear(caller);
      const { hostId, session, peer } = caller;
      const stream: LiveStream = { session, peer, end, answeredAtMs: Number.NEGATIVE_INFINITY, asking: undefined, hear: undefined };
      await inTurn(hostId, async () => {
        await judge(caller);
        const streams = live.get(hostId) ?? new Set();
        streams.add(stream);
        live.set(hostId, streams);
      });
      return () => remove(hostId, stream);
    },
    turnedAway(hostId) {
      const known = refused.get(hostId);
      const lately = [...(known?.values() ?? [])].filter(({ lastMs }) => clock.elapsed() - lastMs < LISTED_MS);
      if (lately.length === 0) refused.delete(hostId);
      return lately.map(({ address, liveAddress, sinceMs }) => ({ address, liveAddress, sinceMs }));
    },
  };
}

/** @throws GrpcError INVALID_ARGUMENT for what no agent of ours says */
export function sessionOf(metadata: Metadata): string {
  const session = metadata[SESSION_KEY] ?? "";
  if (!/^[0-9a-f-]{0,36}$/u.test(session)) throw new GrpcError("INVALID_ARGUMENT", `${SESSION_KEY} must be a UUID: an agent makes one when it starts`);
  return session;
}

function addressOf({ remoteAddress = "" }: Peer): string {
  return remoteAddress.replace(/:\d+$/u, "");
}
