import { backoffDelay } from "../../base/backoff.ts";
import type { Clock } from "../../base/clock.ts";
import type { Closable } from "../../base/task-group.ts";

const RETRY = { baseMs: 1_000, maxMs: 60_000 };

interface RenewalOptions {
  /** How long a certificate holds. */
  readonly ttlMs: number;
  readonly clock: Clock;
  readonly renew: () => Promise<void>;
  readonly onFailure: (failure: unknown) => void;
}

/** Renews the control plane's certificate at half of its life until closed; what fails is tried again soon. */
export function keepCertificateRenewed({ ttlMs, clock, renew, onFailure }: RenewalOptions): Closable {
  let running: Promise<void> | undefined;
  let isClosed = false;
  let attempt = 0;
  let cancel = clock.after(ttlMs / 2, start);

  function start(): void {
    running = run();
  }

  async function run(): Promise<void> {
    let nextMs = ttlMs / 2;
    try {
      await renew();
      attempt = 0;
    } catch (failure) {
      nextMs = backoffDelay(RETRY, attempt++);
      onFailure(failure);
    }
    if (!isClosed) cancel = clock.after(nextMs, start);
  }

  return {
    async close() {
      isClosed = true;
      cancel();
      await running;
    },
  };
}
