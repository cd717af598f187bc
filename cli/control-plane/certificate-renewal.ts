import { backoffDelay } from "../../base/backoff.ts";
import type { Clock } from "../../base/clock.ts";
import type { Closable } from "../../base/task-group.ts";

const RETRY = { baseMs: 1_000, maxMs: 60_000 };
/** The wall clock is looked at this often, because timers do not see it jump. */
const LOOK_EVERY_MS = 15_000;
/** What a clock that is kept right is moved by at most: less than certificates reach into the past. */
const STEP_MS = 30_000;

interface RenewalOptions {
  /** How long a certificate holds. */
  readonly ttlMs: number;
  /** How far it reaches into the past. */
  readonly backdateMs: number;
  readonly clock: Clock;
  readonly renew: () => Promise<void>;
  readonly onFailure: (failure: unknown) => void;
  /** The wall clock was set: forward, or back where it is negative. Milliseconds. */
  readonly onStep: (stepMs: number) => void;
}

/**
 * Renews the control plane's certificate, which is new at the call, until closed: at half of its
 * life, whichever clock tells it, and where the wall clock was set back to before it holds. What
 * fails is tried again soon.
 */
export function keepCertificateRenewed({ ttlMs, backdateMs, clock, renew, onFailure, onStep }: RenewalOptions): Closable {
  let running: Promise<void> | undefined;
  let isClosed = false;
  let attempt = 0;
  let issued = moment();
  let lookedAt = issued;
  let cancel = clock.after(nextLookMs(), look);

  function moment(): { readonly wallMs: number; readonly elapsedMs: number } {
    return { wallMs: clock.now(), elapsedMs: clock.elapsed() };
  }

  function nextLookMs(): number {
    return Math.min(LOOK_EVERY_MS, Math.max(0, ttlMs / 2 - (clock.elapsed() - issued.elapsedMs)));
  }

  function isDue(): boolean {
    const { wallMs, elapsedMs } = moment();
    return Math.max(wallMs - issued.wallMs, elapsedMs - issued.elapsedMs) >= ttlMs / 2 || wallMs < issued.wallMs - backdateMs;
  }

  function look(): void {
    const now = moment();
    const stepMs = now.wallMs - lookedAt.wallMs - (now.elapsedMs - lookedAt.elapsedMs);
    lookedAt = now;
    if (Math.abs(stepMs) >= STEP_MS) onStep(stepMs);
    if (isDue()) running = run();
    else cancel = clock.after(nextLookMs(), look);
  }

  async function run(): Promise<void> {
    let pauseMs: number | undefined;
    try {
      const at = moment();
      await renew();
      issued = at;
      attempt = 0;
    } catch (failure) {
      pauseMs = backoffDelay(RETRY, attempt++);
      onFailure(failure);
    }
    if (!isClosed) cancel = clock.after(pauseMs ?? nextLookMs(), look);
  }

  return {
    async close() {
      isClosed = true;
      cancel();
      await running;
    },
  };
}
