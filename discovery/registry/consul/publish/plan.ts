import { isDeepStrictEqual } from "node:util";
import type { InstanceRecord, PublishedInstance } from "./instance.ts";

/** What Consul holds of ours and what it should: by the id of the instance. */
export interface PlanInput {
  readonly wanted: readonly PublishedInstance[];
  readonly there: ReadonlyMap<string, InstanceRecord>;
  /** Who else has instances of a Consul service; undefined: nobody. */
  readonly othersOf: (service: string) => string | undefined;
  /** Whether what is missing from the catalog is known to be gone. */
  readonly mayRemove: boolean;
}

export interface Removal {
  readonly id: string;
  /** Consul wants to be told. */
  readonly service: string;
}

export interface Plan {
  /** What Consul knows already before what is new: health is the most urgent. */
  readonly set: readonly PublishedInstance[];
  readonly remove: readonly Removal[];
  /** How many would be removed, were it time. */
  readonly held: number;
  /** Sorted. */
  readonly notes: readonly string[];
}

/** What to write so that Consul holds what is wanted, and nothing else of ours. */
export function planWrites({ wanted, there, othersOf, mayRemove }: PlanInput): Plan {
  const notes = new Set<string>();
  const ours = wanted.filter(({ origin, record: { service } }) => {
    const others = othersOf(service);
    if (others !== undefined) notes.add(`${origin} is not published: ${service} in Consul is somebody else's (${others})`);
    return others === undefined;
  });
  const ids = new Set(ours.map(({ id }) => id));
  const surplus = [...there].filter(([id]) => !ids.has(id)).map(([id, { service }]): Removal => ({ id, service }));
  const differing = ours.filter(({ id, record }) => !isDeepStrictEqual(there.get(id), record));
  return {
    set: [...differing.filter(({ id }) => there.has(id)), ...differing.filter(({ id }) => !there.has(id))],
    remove: mayRemove ? surplus : [],
    held: mayRemove ? 0 : surplus.length,
    notes: [...notes].sort(),
  };
}
