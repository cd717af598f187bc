import { backoffDelay } from "../../base/backoff.ts";
import type { Clock } from "../../base/clock.ts";
import type { Closable } from "../../base/task-group.ts";
import { type BundleWatch, type TrustBundle, watchTrustBundle } from "../../ca/bundle.ts";
import type { KeyValueStore } from "../../store/key-value.ts";

const RETRY = { baseMs: 200, maxMs: 10_000 };

interface TrustBundleOptions {
  readonly store: KeyValueStore;
  readonly clock: Clock;
  readonly onChange: (bundle: TrustBundle) => void;
  readonly onFailure: (failure: unknown) => void;
}

/** Follows what the mesh trusts until closed: where the store fails, it is read anew after a pause. */
export function followTrustBundle({ store, clock, onChange, onFailure }: TrustBundleOptions): Closable {
  let watch: BundleWatch;
  let cancelRetry: (() => void) | undefined;
  let attempt = 0;
  let isClosed = false;

  const follow = (): void => {
    watch = watchTrustBundle(store, (bundle) => {
      attempt = 0;
      onChange(bundle);
    });
    watch.done.catch((failure: unknown) => {
      if (isClosed) return;
      cancelRetry = clock.after(backoffDelay(RETRY, attempt++), follow);
      onFailure(failure);
    });
  };
  follow();
  return {
    async close() {
      isClosed = true;
      cancelRetry?.();
      try {
        await watch.close();
      } catch {
        // What it failed with was told.
      }
    },
  };
}
