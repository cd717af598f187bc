import { backoffDelay } from "../base/backoff.ts";
import type { BackoffPolicy } from "../base/backoff.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/coded-error.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";

export interface RetriedWriteOptions {
  /** For logs: `the host's certificate`. */
  readonly what: string;
  /** Writes what is true at this moment; never called twice at a time. */
  readonly write: () => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Brings to disk what is in use already, as soon as the disk takes it. Closing tries once more. */
export interface RetriedWrite extends Closable {
  /** There is something new. Resolves after an attempt, whatever became of it. */
  request(): Promise<void>;
  close(): Promise<void>;
}

const RETRY: BackoffPolicy = { baseMs: 1_000, maxMs: 60_000 };

export function keepWritten(options: RetriedWriteOptions): RetriedWrite {
  const { what, write, clock, logger } = options;
  let isWanted = false;
  let isClosed = false;
  let failures = 0;
  let running: Promise<void> | undefined;
  let cancel: (() => void) | undefined;

  const writeAll = async (): Promise<void> => {
    try {
      while (isWanted) {
        isWanted = false;
        await write();
        if (failures > 0) logger.info(`${what} is on disk now`);
        failures = 0;
      }
    } catch (failure) {
      isWanted = true;
      logger.error({ reason: messageOf(failure) }, `${what} cannot be written to disk: it is in use, and a restart would come up with the one before`);
      if (!isClosed) cancel = clock.after(backoffDelay(RETRY, failures++), () => void attempt());
    } finally {
      running = undefined;
    }
  };
  const attempt = async (): Promise<void> => {
    cancel?.();
    if (isWanted) running ??= writeAll();
    await running;
  };
  return {
    request() {
      isWanted = true;
      return attempt();
    },
    async close() {
      isClosed = true;
      cancel?.();
      await running;
      await attempt();
    },
  };
}
