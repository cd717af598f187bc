import { storeLimits } from "./key-value.ts";
import type { Watch, WatchEvent } from "./key-value.ts";

/**
 * A watch as its driver feeds it: at most `storeLimits.watchEvents` events wait
 * for the reader; when more come, they all give way to one `resync`.
 */
export interface WatchQueue extends Watch {
  /** False once nothing more is wanted. */
  push(event: WatchEvent): boolean;
  /** Makes the reader's iteration reject, after what already waits. */
  fail(failure: Error): void;
}

/** @param onEnd called once, when the watch ends for whatever reason: the driver forgets it */
export function createWatchQueue(onEnd: () => void): WatchQueue {
  let waiting: WatchEvent[] = [];
  let failure: Error | undefined;
  let hasEnded = false;
  let wake: (() => void) | undefined;

  function end(): void {
    if (hasEnded) return;
    hasEnded = true;
    onEnd();
    wake?.();
  }

  async function* events(): AsyncGenerator<WatchEvent, void, void> {
    try {
      for (;;) {
        const event = waiting.shift();
        if (event !== undefined) yield event;
        else if (failure !== undefined) throw failure;
        else if (hasEnded) return;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      end();
    }
  }

  return {
    push(event) {
      if (hasEnded) return false;
      if (event.type === "resync" || waiting.length >= storeLimits.watchEvents) {
        waiting = event.type === "resync" ? [...waiting, event] : [{ type: "resync" }];
        end();
        return false;
      }
      waiting.push(event);
      wake?.();
      return true;
    },
    fail(error) {
      if (hasEnded) return;
      failure = error;
      end();
    },
    close() {
      waiting = [];
      end();
    },
    [Symbol.asyncIterator]: events,
  };
}
