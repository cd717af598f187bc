import type { Clock } from "../../base/clock.ts";
import { createSlicedWork } from "../../base/sliced-work.ts";
import type { RegistryService } from "../registry/registry.ts";

/** How services that come take turns. */
export interface Pace {
  /** So many go into the catalog without a pause, whatever else waits. */
  readonly atOnce: number;
  /** So many are taken in one step, at least: telling who listens has a price for each time. */
  readonly atATime: number;
}

/** Some 20 ms and 1 ms of work. */
const PACE: Pace = { atOnce: 256, atATime: 16 };

/** A service of one registry that is another one than the catalog has. */
export interface Arrival {
  /** Unique among all registries. */
  readonly id: string;
  readonly registry: string;
  readonly precedence: number;
  /** As the catalog has it. */
  readonly before?: RegistryService | undefined;
  /** As the registry has it. */
  readonly after?: RegistryService | undefined;
}

/**
 * The way of services into the catalog. Many that come at once take turns with
 * everything else; what is told of few does not wait for them.
 *
 * Invariants: what is tied together, as `tiesOf` says, is taken in one turn,
 * however long that takes and whichever registries told it; the newest word of
 * each service is taken, and none of what was said in between; of two that are
 * not tied either may be taken first.
 */
export interface Intake {
  /** @param takesTurns many of these may be taken one after another */
  take(arrivals: readonly Arrival[], takesTurns: boolean): void;
  /** Takes all that waits, now. */
  finish(): void;
  /** By id, what was told and is not taken yet. */
  waiting(): ReadonlyMap<string, Arrival>;
  close(): void;
}

/** How many services of each registry wait, by its name; none of those that wait for nothing. */
export function waitingByRegistry(waiting: ReadonlyMap<string, Arrival>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { registry } of waiting.values()) counts.set(registry, (counts.get(registry) ?? 0) + 1);
  return counts;
}

export interface IntakeOptions {
  readonly clock: Clock;
  /** Names of all that a service has a say in: two that have one in common are tied. Undefined for one that may have it in anybody's: it is tied to all. */
  readonly tiesOf: (whose: Pick<Arrival, "id" | "registry">, service: RegistryService) => readonly string[] | undefined;
  readonly onTaken: (arrivals: readonly Arrival[]) => void;
  readonly pace?: Pace | undefined;
}

/** Ids that are tied, directly or by others. One that was joined to another has none of its own. */
interface Bundle {
  ids: string[];
  joinedTo?: Bundle;
}

export function createIntake({ clock, tiesOf, onTaken, pace = PACE }: IntakeOptions): Intake {
  const waiting = new Map<string, Arrival>();
  // Ties are not forgotten before nothing waits: what is tied too much is taken together, no more.
  const bundles = new Map<string, Bundle>();
  const byTie = new Map<string, Bundle>();

  const bundleAt = (found: Bundle): Bundle => {
    let last = found;
    while (last.joinedTo !== undefined) last = last.joinedTo;
    return last;
  };
  const join = (left: Bundle, right: Bundle): Bundle => {
    if (left === right) return left;
    const [small, large] = left.ids.length < right.ids.length ? [left, right] : [right, left];
    for (const id of small.ids) large.ids.push(id);
    small.ids = [];
    small.joinedTo = large;
    return large;
  };

  /** False where it may be tied to anything. */
  const tie = (arrival: Arrival): boolean => {
    const { id, before, after } = arrival;
    const known = bundles.get(id);
    let own: Bundle = known === undefined ? { ids: [id] } : bundleAt(known);
    for (const service of [before, after]) {
      const ties = service === undefined ? [] : tiesOf(arrival, service);
      if (ties === undefined) return false;
      for (const name of ties) {
        const other = byTie.get(name);
        if (other === undefined) byTie.set(name, own);
        else own = join(own, bundleAt(other));
      }
    }
    bundles.set(id, own);
    return true;
  };

  /** What waits, the newest word of each; gives what is new of it. */
  const add = (arrivals: readonly Arrival[]): Arrival[] =>
    arrivals.flatMap((arrival) => {
      const earlier = waiting.get(arrival.id);
      const merged = earlier === undefined ? arrival : { ...arrival, before: earlier.before };
      // What came and went while it waited was never there.
      if (merged.before === undefined && merged.after === undefined) {
        waiting.delete(arrival.id);
        return [];
      }
      waiting.set(arrival.id, merged);
      return [merged];
    });

  const forgetIfDone = (): void => {
    if (waiting.size > 0) return;
    bundles.clear();
    byTie.clear();
  };

  /** Takes out what waits of all that these are tied to. */
  const drawn = (ids: Iterable<string>): Arrival[] => {
    const all: Arrival[] = [];
    for (const id of ids) {
      const known = bundles.get(id);
      const bundle = known === undefined ? { ids: [id] } : bundleAt(known);
      for (const tied of bundle.ids) {
        const arrival = waiting.get(tied);
        if (arrival !== undefined) all.push(arrival);
        waiting.delete(tied);
        bundles.delete(tied);
      }
      bundle.ids = [];
    }
    return all;
  };

  const takeAll = (): void => {
    const all = [...waiting.values()];
    waiting.clear();
    forgetIfDone();
    if (all.length > 0) onTaken(all);
  };

  const work = createSlicedWork(
    clock,
    function* () {
      while (waiting.size > 0) {
        const taken: Arrival[] = [];
        for (const id of waiting.keys()) {
          taken.push(...drawn([id]));
          if (taken.length >= pace.atATime) break;
        }
        onTaken(taken);
        yield;
      }
    },
    forgetIfDone,
  );

  return {
    take(arrivals, takesTurns) {
      const isFew = !takesTurns || arrivals.length <= pace.atOnce;
      if (isFew && waiting.size === 0) {
        onTaken(arrivals);
        return;
      }
      const added = add(arrivals);
      if (!added.every(tie)) takeAll();
      else if (isFew) {
        const taken = drawn(added.map(({ id }) => id));
        if (taken.length > 0) onTaken(taken);
      } else work.run();
    },
    finish: takeAll,
    waiting: () => waiting,
    close: () => work.close(),
  };
}
