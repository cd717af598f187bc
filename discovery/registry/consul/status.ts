import type { RegistryCounters, RegistryFailure, RegistryService, RegistryStatus } from "../registry.ts";

/** What a reading of one Consul knows about itself. */
export interface ReadingState {
  readonly name: string;
  readonly isPublished: boolean;
  /** By `Clock.elapsed`, as all times here. */
  readonly nowMs: number;
  readonly content: ReadonlyMap<string, RegistryService>;
  readonly watches: ReadonlyMap<string, { readonly failure: RegistryFailure | undefined; readonly confirmedAt: number }>;
  /** When a Consul with a leader confirmed the list of names last. */
  readonly listConfirmedAt: number | undefined;
  /** Of the list, and so of everything. */
  readonly failure: RegistryFailure | undefined;
  /** Names that no service of the mesh can have. */
  readonly skipped: readonly string[];
  readonly isFiltered: boolean;
  /** Where there are more services than questions may wait: how many may, and how late a change may be seen. */
  readonly crowding: { readonly capacity: number; readonly latestMs: number } | undefined;
  /** Of the questions that point at changes, by what they ask for. */
  readonly hintFailures: ReadonlyMap<string, RegistryFailure>;
  /** How late a change may be seen that nothing points at. */
  readonly slowPassMs: number;
  readonly counters: RegistryCounters;
}

/** The registry's status. What the whole Consul suffers from is said once, not for each service. */
export function describeReading(state: ReadingState): RegistryStatus {
  const { name, nowMs, watches, failure, listConfirmedAt, crowding } = state;
  const failed = [...watches].flatMap(([service, { failure: own }]) => (own === undefined || own.code === failure?.code ? [] : [{ ...own, service }]));
  const [first] = failed;
  const blind = [...state.hintFailures].flatMap(([asked, own]) => (own.code === failure?.code ? [] : [{ asked, failure: own }]));
  const lastError = failure ?? (first === undefined ? blindness(blind[0]) : firstOf(first, summarize(failed)[0]));
  const oldest = listConfirmedAt === undefined ? undefined : [...watches.values()].reduce((least, { confirmedAt }) => Math.min(least, confirmedAt), listConfirmedAt);
  const content = [...state.content];
  return {
    name,
    kind: "consul",
    synced: state.isPublished,
    ...(oldest === undefined ? {} : { ageMs: Math.max(0, nowMs - oldest) }),
    ...(lastError === undefined ? {} : { lastError }),
    services: content.length,
    workloads: content.reduce((sum, [, { backends }]) => sum + (backends.kind === "explicit" ? backends.workloads.length : 0), 0),
    notes: [
      ...state.skipped.map((service) => `${service} is left out: its name is no DNS label`),
      ...(state.isFiltered ? ["the token may not read everything: services that it may not read are left out"] : []),
      ...(crowding === undefined
        ? []
        : [`${watches.size} services are more than ${crowding.capacity} connections can wait for: new and moved instances are seen within ${Math.ceil(crowding.latestMs / 1_000)} s; give an https:// address, or raise maxConnections`]),
      ...blind.map(({ asked, failure: { since } }) => `${asked} of the cluster cannot be asked for since ${new Date(since).toISOString()}: what changes there may be seen up to ${Math.ceil(state.slowPassMs / 1_000)} s late`),
      ...summarize(failed),
      ...content.flatMap(([service, { notes }]) => notes.map((note) => `${service}: ${note}`)),
    ].sort(),
    counters: state.counters,
  };
}

function blindness(blind: { readonly asked: string; readonly failure: RegistryFailure } | undefined): RegistryFailure | undefined {
  return blind === undefined ? undefined : { ...blind.failure, message: `${blind.asked} of the cluster cannot be asked for: ${blind.failure.message}` };
}

function firstOf({ service: _service, ...failure }: RegistryFailure & { readonly service: string }, message = failure.message): RegistryFailure {
  return { ...failure, message };
}

/** How many services a line names that all suffer from the same. */
const NAMED = 3;

/** A line for each thing that is wrong, and not for each service that it is wrong with. */
function summarize(failed: readonly { readonly service: string; readonly message: string }[]): string[] {
  return [...Map.groupBy(failed, ({ message }) => message)].map(([message, all]) => {
    const names = all.slice(0, NAMED).map(({ service }) => service);
    const more = all.length - names.length;
    return `${names.join(", ")}${more === 0 ? "" : ` and ${more} more services`}: ${message}`;
  });
}
