import type { Clock } from "../base/clock.ts";
import { CodedError } from "../base/coded-error.ts";
import { type Comparison, type KeyValueStore, type Operation, storeLimits } from "../store/key-value.ts";
import { caError } from "./errors.ts";
import type { JournalEnd } from "./journal-end.ts";
import { chunkOf, chunkPrefix, encodeEnd, entryKey, entrySchema, hashOf, headsPrefix, readClaimedEnd, readEnd } from "./journal-records.ts";
import type { JournalEntry, StoredEnd } from "./journal-records.ts";
import type { StateKey } from "./key-file.ts";

/** What the authority did, or refused to do. */
export type JournalEventType =
  | "authority-created"
  | "token-created"
  | "host-joined"
  | "certificate-issued"
  | "host-revoked"
  | "join-refused"
  | "certificate-refused"
  | "caller-refused"
  | "refusals-counted";

export interface JournalEvent {
  readonly type: JournalEventType;
  /** Never secrets; strings of strangers are cut to a sane length by whoever reports them. */
  readonly facts: Readonly<Record<string, string | number | readonly string[]>>;
}

/** What must hold, and what else is done, in the same transaction as an entry. */
export interface JournalCondition {
  readonly comparisons: readonly Comparison[];
  readonly operations: readonly Operation[];
}

/**
 * The authority's own account of what it did: append-only, one hash chain for
 * each writer. The end of each chain is sealed with the key file's key and kept
 * beside the key file (`JournalEnd`), so that who has the store alone can neither
 * change, drop nor append an entry unseen.
 */
export interface Journal {
  /** Durable when it resolves; false, and nothing written, where the condition did not hold. */
  append(event: JournalEvent, condition?: JournalCondition): Promise<boolean>;
  /** Waits for what was appended. */
  close(): Promise<void>;
}

export interface JournalOptions {
  readonly store: KeyValueStore;
  readonly clock: Clock;
  readonly stateKey: StateKey;
  /** Unique among those that write to the store at the same time. */
  readonly writer: string;
  /** Of this writer; the journal closes it. */
  readonly end: JournalEnd;
}

interface Pending {
  readonly event: JournalEvent;
  readonly condition: JournalCondition;
  resolve(isCommitted: boolean): void;
  reject(failure: unknown): void;
}

const maxPending = 4_096;
const maxBatch = 64;
/** Of one transaction, with the end of the chain: less than a store takes. */
const maxOperations = Math.min(storeLimits.operations, storeLimits.comparisons) - 1;
const maxAttempts = 8;
const noCondition: JournalCondition = { comparisons: [], operations: [] };

export function openJournal(options: JournalOptions): Journal {
  const { store, clock, stateKey, writer, end } = options;
  const headKey = headsPrefix + writer;
  const pending: Pending[] = [];
  let head: StoredEnd | undefined;
  let draining: Promise<void> | undefined;

  async function readHead(): Promise<StoredEnd> {
    const found = await readEnd(store, stateKey, writer);
    if (!(await end.accept(found))) throw caError("MESH_CA_STATE_DAMAGED", `the end of the journal of ${writer} was set back`);
    return found;
  }

  /** One transaction for all of them. */
  async function write(batch: readonly Pending[]): Promise<boolean> {
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      const before = head ?? (await readHead());
      let { sequence, hash } = before;
      const operations = batch.flatMap(({ event, condition }): Operation[] => {
        sequence += 1;
        const text = JSON.stringify({ writer, sequence, atMs: clock.now(), ...event, previous: hash } satisfies Readonly<Record<keyof JournalEntry, unknown>>);
        hash = hashOf(text);
        return [{ type: "put", key: entryKey(writer, sequence), value: text }, ...condition.operations];
      });
      const newHead = encodeEnd(stateKey, writer, { sequence, hash });
      const result = await store.txn(
        [{ key: headKey, revision: before.revision }, ...batch.flatMap(({ condition }) => condition.comparisons)],
        [...operations, { type: "put", key: headKey, value: newHead }],
      );
      if (result.committed) {
        head = { sequence, hash, revision: result.revision };
        return true;
      }
      head = await readHead();
      if (head.revision === before.revision) return false;
    }
    throw caError("MESH_CA_BUSY", `somebody else writes to the journal of ${writer}`, { hint: "each replica needs a name of its own" });
  }

  async function settle(batch: readonly Pending[]): Promise<void> {
    try {
      const isCommitted = await write(batch);
      // The condition of one of them failed: each for itself.
      if (!isCommitted && batch.length > 1) for (const one of batch) await settle([one]);
      else if (!isCommitted || head === undefined) for (const one of batch) one.resolve(false);
      else void keepEnd(batch, head);
    } catch (failure) {
      // What the store holds now is not known.
      head = undefined;
      for (const one of batch) one.reject(failure);
    }
  }

  /** The next ones are written meanwhile. */
  async function keepEnd(batch: readonly Pending[], reached: StoredEnd): Promise<void> {
    await end.keep(reached);
    for (const one of batch) one.resolve(true);
  }

  async function drain(): Promise<void> {
    while (pending.length > 0) await settle(pending.splice(0, batchSize(pending)));
    draining = undefined;
  }

  function append(event: JournalEvent, condition = noCondition): Promise<boolean> {
    if (pending.length >= maxPending) throw caError("MESH_CA_BUSY", `${pending.length} entries wait for the journal already`);
    return new Promise((resolve, reject) => {
      pending.push({ event, condition, resolve, reject });
      draining ??= drain();
    });
  }

  return {
    async append(event, condition) {
      return append(event, condition);
    },

    async close() {
      await draining;
      await end.close();
    },
  };
}

/** The writer's entries in order, all or the last ones; without those that cannot be read. */
export async function readJournal(store: KeyValueStore, writer: string, last = Number.POSITIVE_INFINITY): Promise<JournalEntry[]> {
  const { sequence: end } = await readClaimedEnd(store, writer);
  const from = Math.max(1, end - last + 1);
  const entries: JournalEntry[] = [];
  for (let chunk = chunkOf(from); chunk <= chunkOf(end); chunk += 1) {
    const { items } = await store.list(chunkPrefix(writer, chunk));
    entries.push(...items.flatMap((one) => readEntry(one.value) ?? []));
  }
  return entries.filter(({ sequence }) => sequence >= from && sequence <= end);
}

/** The names of all that ever wrote. */
export async function journalWriters(store: KeyValueStore): Promise<string[]> {
  const { items } = await store.list(headsPrefix);
  return items.map((item) => item.key.slice(headsPrefix.length));
}

/** What is wrong with the writer's chain, in words; empty for a sound one. The writer may go on meanwhile. */
export async function verifyJournal(store: KeyValueStore, stateKey: StateKey, writer: string): Promise<string[]> {
  const end = await readClaimedEnd(store, writer);
  const problems = await problemsOfEnd(store, stateKey, writer);
  let [sequence, hash, surplus] = [0, "", 0];
  for (let chunk = 0; chunk <= chunkOf(end.sequence) + 1; chunk += 1) {
    const { items } = await store.list(chunkPrefix(writer, chunk));
    for (const one of items) {
      if (sequence === end.sequence) {
        surplus = Math.max(surplus, readEntry(one.value)?.sequence ?? Number.POSITIVE_INFINITY);
        continue;
      }
      sequence += 1;
      if (one.key !== entryKey(writer, sequence)) return [...problems, `entry ${sequence} is missing`];
      const entry = readEntry(one.value);
      if (entry === undefined || entry.sequence !== sequence || entry.writer !== writer || entry.previous !== hash) {
        return [...problems, `entry ${sequence} does not follow from the one before it`];
      }
      hash = hashOf(one.value);
    }
  }
  if (sequence !== end.sequence || hash !== end.hash) problems.push(`the chain ends with entry ${sequence}, which is not its sealed end`);
  // What was written while we read has moved the end first.
  else if (surplus > (await readClaimedEnd(store, writer)).sequence) problems.push(`entries after ${sequence} are behind the sealed end`);
  return problems;
}

async function problemsOfEnd(store: KeyValueStore, stateKey: StateKey, writer: string): Promise<string[]> {
  try {
    const { sequence } = await readEnd(store, stateKey, writer);
    return sequence === 0 ? ["the chain has no end"] : [];
  } catch (failure) {
    if (failure instanceof CodedError && failure.code === "MESH_CA_STATE_DAMAGED") return [failure.message];
    throw failure;
  }
}

function readEntry(text: string): JournalEntry | undefined {
  return entrySchema.safeParse(parseJson(text)).data;
}

/**
 * How many of the first ones fit into one transaction: a fleet that joins, or
 * renews its certificates, does so at once, and each write to the disk costs
 * milliseconds. None of them touches what another one writes.
 */
function batchSize(pending: readonly Pending[]): number {
  const written = new Set<string>();
  const compared = new Set<string>();
  let [operations, comparisons, size] = [0, 0, 0];
  for (const { condition } of pending) {
    operations += 1 + condition.operations.length;
    comparisons += condition.comparisons.length;
    const isApart =
      condition.operations.every(({ key }) => !written.has(key) && !compared.has(key)) && condition.comparisons.every(({ key }) => !written.has(key));
    if (size > 0 && (size === maxBatch || operations > maxOperations || comparisons > maxOperations || !isApart)) break;
    for (const { key } of condition.operations) written.add(key);
    for (const { key } of condition.comparisons) compared.add(key);
    size += 1;
  }
  return size;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
