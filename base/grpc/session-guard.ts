import type { Http2Session } from "node:http2";
import { systemClock } from "../clock.ts";
import { createListeningClock, type ListeningClock } from "../listening-clock.ts";

/** When a connection is given up. */
export interface SessionLimits {
  /** A ping is sent this often; one that is not answered until the next ends the connection. Of the time in which this process listens. */
  readonly keepaliveMs: number;
  /** A connection without a call for this long is closed; no limit where absent. */
  readonly idleTimeoutMs?: number;
  /** A new connection must make its first call within this time; no limit where absent. */
  readonly firstCallTimeoutMs?: number;
  /** The connection ends then, whatever it does: the peer's certificate has expired. Milliseconds since the epoch. */
  readonly expiresAtMs?: number;
  /** The connection ends when it is this old, whatever it does; no limit where absent. */
  readonly lifeMs?: number;
}

/** Tells the guard about the calls of its connection. */
export interface SessionGuard {
  callStarted(): void;
  callEnded(): void;
  /** Calls under way. */
  calls(): number;
}

const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** One clock for all connections of the process; it goes while there are any. */
let shared: { readonly clock: ListeningClock; sessions: number } | undefined;

function listenFor(session: Http2Session): ListeningClock {
  const current = (shared ??= { clock: createListeningClock(systemClock), sessions: 0 });
  current.sessions += 1;
  session.once("close", () => {
    current.sessions -= 1;
    if (current.sessions > 0) return;
    void current.clock.close();
    if (shared === current) shared = undefined;
  });
  return current.clock;
}

/** Watches one connection until it closes: liveness, idleness, the life of the peer's certificate. */
export function guardSession(session: Http2Session, limits: SessionLimits): SessionGuard {
  const { keepaliveMs, idleTimeoutMs, firstCallTimeoutMs, expiresAtMs, lifeMs } = limits;
  let calls = 0;
  let idleSince = performance.now();
  let isAwaitingPong = false;

  const clock = listenFor(session);
  const check = (): void => {
    cancelKeepalive = clock.after(keepaliveMs, check);
    if (isAwaitingPong) {
      // Where we were busy just now, the answer may be there and not read yet: it is in this turn.
      setImmediate(() => {
        if (isAwaitingPong) session.destroy();
      });
      return;
    }
    if (calls === 0 && idleTimeoutMs !== undefined && performance.now() - idleSince >= idleTimeoutMs) {
      session.close();
      return;
    }
    if (session.destroyed || session.closed) return;
    isAwaitingPong = session.ping((error) => {
      if (error === null) isAwaitingPong = false;
    });
  };
  let cancelKeepalive = clock.after(keepaliveMs, check);
  const endAfter = (delayMs: number | undefined): NodeJS.Timeout | undefined =>
    delayMs === undefined ? undefined : setTimeout(() => session.destroy(), delayMs).unref();
  const first = endAfter(firstCallTimeoutMs);
  const life = endAfter(lifeMs);
  let expiry: NodeJS.Timeout | undefined;
  const expire = (): void => {
    const leftMs = (expiresAtMs ?? Infinity) - Date.now();
    if (leftMs <= 0) session.destroy();
    else if (expiresAtMs !== undefined) expiry = setTimeout(expire, Math.min(leftMs, LONGEST_TIMER_MS)).unref();
  };
  expire();
  session.once("close", () => {
    cancelKeepalive();
    clearTimeout(first);
    clearTimeout(life);
    clearTimeout(expiry);
  });

  return {
    callStarted() {
      calls += 1;
      clearTimeout(first);
    },
    callEnded() {
      calls -= 1;
      idleSince = performance.now();
    },
    calls: () => calls,
  };
}
