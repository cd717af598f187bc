import { backoffDelay } from "../../base/backoff.ts";
import type { Clock } from "../../base/clock.ts";
import type { Closable } from "../../base/task-group.ts";
import type { ServiceKey } from "../../model/service.ts";
import type { VipAllocator } from "./vip.ts";

const RETRY = { baseMs: 500, maxMs: 30_000 };
/** How many services are shown with their new addresses at a time: some 10 ms of work. */
const PUBLISH_BATCH = 256;
/** How many are released at a time: the store writes to the disk once for all that it has. */
const RELEASE_BATCH = 64;

/** Virtual addresses on their way from the store, one batch after the other. */
export interface AddressAllocation extends Closable {
  /** Allocates for services, and releases what those had that left and that nobody claims; what is asked for meanwhile is done together, next. */
  request(wanting: readonly ServiceKey[], left: Iterable<ServiceKey>, onEnd?: () => void): void;
  /** Resolves when all that was asked for is done, or has failed. */
  settled(): Promise<void>;
}

export interface AddressAllocationOptions {
  readonly vips: VipAllocator;
  readonly clock: Clock;
  readonly isClaimed: (key: ServiceKey) => boolean;
  /** Of those whose allocation failed, the ones that still want addresses. */
  readonly stillWanting: (keys: ReadonlySet<ServiceKey>) => readonly ServiceKey[];
  /** Shows services with the addresses that they have now. */
  readonly show: (keys: readonly ServiceKey[]) => void;
  /** Told of each failure; it is tried again. */
  readonly onFailure: (failure: unknown) => void;
}

interface Batch {
  readonly wanting: Set<ServiceKey>;
  readonly released: Set<ServiceKey>;
  readonly onEnds: (() => void)[];
}

export function createAddressAllocation({ vips, clock, isClaimed, stillWanting, show, onFailure }: AddressAllocationOptions): AddressAllocation {
  let last: Promise<void> = Promise.resolve();
  let current: Batch | undefined;
  /** Begins when that is done. */
  let next: Batch | undefined;
  /** Services whose addresses could not be allocated or released. */
  const unsettled = new Set<ServiceKey>();
  let failures = 0;
  let cancelRetry: (() => void) | undefined;
  let isClosed = false;

  const work = async ({ wanting, released }: Batch): Promise<void> => {
    const all = [...wanting];
    await vips.allocate(all);
    for (let at = 0; at < all.length; at += PUBLISH_BATCH) {
      // Thousands take turns with everything else.
      if (at > 0) await new Promise((resolve) => setImmediate(resolve));
      show(all.slice(at, at + PUBLISH_BATCH));
    }
    // Nobody waits for that but who comes next.
    const left = [...released];
    for (let at = 0; at < left.length; at += RELEASE_BATCH) await vips.release(...left.slice(at, at + RELEASE_BATCH).filter((key) => !isClaimed(key)));
    if (unsettled.size === 0) failures = 0;
  };
  /** What is about to be released may rest in a moment, also where it is wanted again. */
  const isHeld = (key: ServiceKey): boolean => vips.held(key).length > 0 && [current, next].every((batch) => batch?.released.has(key) !== true);
  const begin = async (batch: Batch): Promise<void> => {
    current = batch;
    next = undefined;
    try {
      await work(batch);
    } catch (failure) {
      for (const key of [...batch.wanting, ...batch.released]) unsettled.add(key);
      if (!isClosed) cancelRetry ??= clock.after(backoffDelay(RETRY, failures++), retry);
      onFailure(failure);
    } finally {
      current = undefined;
      for (const onEnd of batch.onEnds) onEnd();
    }
  };
  const enqueue = (lacking: readonly ServiceKey[], left: Iterable<ServiceKey>, onEnd?: () => void): void => {
    const released = [...left].filter((key) => !isClaimed(key));
    if (lacking.length === 0 && released.length === 0) {
      onEnd?.();
      return;
    }
    const batch = next ?? { wanting: new Set(), released: new Set(), onEnds: [] };
    for (const key of lacking) batch.wanting.add(key);
    for (const key of released) batch.released.add(key);
    if (onEnd !== undefined) batch.onEnds.push(onEnd);
    if (next === undefined) last = last.then(() => begin(batch));
    next = batch;
  };
  const request: AddressAllocation["request"] = (wanting, left, onEnd) => enqueue(wanting.filter((key) => !isHeld(key)), left, onEnd);
  const retry = (): void => {
    cancelRetry = undefined;
    const again = new Set(unsettled);
    unsettled.clear();
    // Also those that got theirs before the failure: nobody has shown them.
    enqueue(stillWanting(again), again);
  };

  return {
    request,
    settled: () => last,
    async close() {
      isClosed = true;
      cancelRetry?.();
      await last;
    },
  };
}
