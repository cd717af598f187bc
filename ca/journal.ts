import { createHash, timingSafeEqual } from "node:crypto";
import { z } from "zod";

import type { Clock } from "../base/clock.ts";
import type { Comparison, KeyValueStore, Operation } from "../store/key-value.ts";
import { caError } from "./errors.ts";
import type { StateKey } from "./key-file.ts";
import { readRecord } from "./record.ts";

/** What the authority did, or refused to do. */
export type JournalEventType =
  | "authority-created"
  | "token-created"
  | "host-joined"
  | "certificate-issued"
  | "host-revoked"
  | "join-refused"
  | "certificate-refused"
  | "caller-refused";

export interface JournalEvent {
  readonly type: JournalEventType;
  /** Never secrets; strings of strangers are cut to a sane length by whoever reports them. */
  readonly facts: Readonly<Record<string, string | number | readonly string[]>>;
}

const entrySchema = z.strictObject({
  writer: z.string(),
  /** From 1, without gaps. */
  sequence: z.int(),
  atMs: z.int(),
  type: z.string(),
  facts: z.record(z.string(), z.union([z.string(), z.number(), z.array(z.string())])),
  /** SHA-256 of the text of the entry before it, hex; empty for the first. */
  previous: z.string(),
});

export type JournalEntry = z.output<typeof entrySchema>;

const headSchema = z.strictObject({ sequence: z.int(), hash: z.string(), seal: z.string() });

/** What must hold, and what else is done, in the same transaction as an entry. */
export interface JournalCondition {
  readonly comparisons: readonly Comparison[];
  readonly operations: readonly Operation[];
}

/**
 * The authority's own account of what it did: append-only, one hash chain for
 * each writer. The end of each chain is sealed with the key file's key, so that
 * who has the store alone can neither change, drop nor append an entry unseen
 * (putting the whole store back to an earlier state excepted).
 */
export interface Journal {
  /** Durable when it resolves; false, and nothing written, where the condition did not hold. */
  append(event: JournalEvent, condition?: JournalCondition): Promise<boolean>;
  /** Appends unless too many refusals were written in this minute; the next one tells how many were left out. */
  appendRefusal(event: JournalEvent): Promise<void>;
  /** Waits for what was appended. */
  close(): Promise<void>;
}

export interface JournalOptions {
  readonly store: KeyValueStore;
  readonly clock: Clock;
  readonly stateKey: StateKey;
  /** Unique among those that write to the store at the same time. */
  readonly writer: string;
  readonly refusalsPerMinute: number;
}

interface Head {
  readonly sequence: number;
  readonly hash: string;
  readonly revision: number;
}

interface Pending {
  readonly event: JournalEvent;
  readonly condition: JournalCondition;
  resolve(isCommitted: boolean): void;
  reject(failure: unknown): void;
}

const entriesPrefix = "ca/journal/";
const headsPrefix = "ca/journal-heads/";
const sequenceDigits = 12;
/** Entries are read in pieces of 1,000: all whose number differs in the last three digits only. */
const chunkDigits = 3;
const maxPending = 4_096;
const maxBatch = 64;
const maxAttempts = 8;
const noCondition: JournalCondition = { comparisons: [], operations: [] };

export function openJournal(options: JournalOptions): Journal {
  const { store, clock, stateKey, writer, refusalsPerMinute } = options;
  const headKey = headsPrefix + writer;
  const pending: Pending[] = [];
  let head: Head | undefined;
  let draining: Promise<void> | undefined;
  let refusals = { minute: 0, written: 0, leftOut: 0 };

  async function readHead(): Promise<Head> {
    const item = await store.get(headKey);
    if (item === undefined && head === undefined) return { sequence: 0, hash: "", revision: 0 };
    const current = item === undefined ? undefined : readRecord(headSchema, item);
    if (current === undefined || current.record.sequence < (head?.sequence ?? 0)) {
      throw caError("MESH_CA_STATE_DAMAGED", `the end of the journal of ${writer} was set back`);
    }
    const { sequence, hash, seal } = current.record;
    if (!isSealed(stateKey, writer, sequence, hash, seal)) {
      throw caError("MESH_CA_STATE_DAMAGED", `the end of the journal of ${writer} was not written by an authority with this key file`);
    }
    return { sequence, hash, revision: current.revision };
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
      const newHead = JSON.stringify({ sequence, hash, seal: sealOf(stateKey, writer, sequence, hash) });
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
      else for (const one of batch) one.resolve(isCommitted);
    } catch (failure) {
      // What the store holds now is not known.
      head = undefined;
      for (const one of batch) one.reject(failure);
    }
  }

  async function drain(): Promise<void> {
    while (pending.length > 0) {
      let size = 1;
      // Those that do more than note something may write the same keys, and go alone.
      if (!doesMore(pending[0])) while (size < Math.min(maxBatch, pending.length) && !doesMore(pending[size])) size += 1;
      await settle(pending.splice(0, size));
    }
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

    async appendRefusal(event) {
      const minute = Math.floor(clock.now() / 60_000);
      if (minute !== refusals.minute) refusals = { minute, written: 0, leftOut: refusals.leftOut };
      if (refusals.written >= refusalsPerMinute) {
        refusals.leftOut += 1;
        return;
      }
      refusals.written += 1;
      const { leftOut } = refusals;
      refusals.leftOut = 0;
      await append(leftOut === 0 ? event : { ...event, facts: { ...event.facts, refusalsLeftOutBefore: leftOut } });
    },

    async close() {
      await draining;
    },
  };
}

/** The writer's entries in order, all or the last ones. */
export async function readJournal(store: KeyValueStore, writer: string, last = Number.POSITIVE_INFINITY): Promise<JournalEntry[]> {
  const item = await store.get(headsPrefix + writer);
  const end = item === undefined ? 0 : readRecord(headSchema, item).record.sequence;
  const from = Math.max(1, end - last + 1);
  const entries: JournalEntry[] = [];
  for (let chunk = chunkOf(from); chunk <= chunkOf(end); chunk += 1) {
    const { items } = await store.list(chunkPrefix(writer, chunk));
    entries.push(...items.map((one) => readRecord(entrySchema, one).record));
  }
  return entries.filter(({ sequence }) => sequence >= from && sequence <= end);
}

/** The names of all that ever wrote. */
export async function journalWriters(store: KeyValueStore): Promise<string[]> {
  const { items } = await store.list(headsPrefix);
  return items.map((item) => item.key.slice(headsPrefix.length));
}

/** What is wrong with the writer's chain, in words; empty for a sound one. */
export async function verifyJournal(store: KeyValueStore, stateKey: StateKey, writer: string): Promise<string[]> {
  const item = await store.get(headsPrefix + writer);
  if (item === undefined) return [`the journal of ${writer} has no end`];
  const head = readRecord(headSchema, item).record;
  const problems: string[] = [];
  if (!isSealed(stateKey, writer, head.sequence, head.hash, head.seal)) problems.push("the end of the chain has a wrong seal");
  let [sequence, hash] = [0, ""];
  for (let chunk = 0; chunk <= chunkOf(head.sequence) + 1; chunk += 1) {
    const { items } = await store.list(chunkPrefix(writer, chunk));
    for (const one of items) {
      sequence += 1;
      if (one.key !== entryKey(writer, sequence)) return [...problems, `entry ${sequence} is missing`];
      const entry = entrySchema.safeParse(parseJson(one.value));
      if (!entry.success || entry.data.sequence !== sequence || entry.data.writer !== writer || entry.data.previous !== hash) {
        return [...problems, `entry ${sequence} does not follow from the one before it`];
      }
      hash = hashOf(one.value);
    }
  }
  if (sequence !== head.sequence || hash !== head.hash) problems.push(`the chain ends with entry ${sequence}, which is not its sealed end`);
  return problems;
}

function doesMore(one: Pending | undefined): boolean {
  return one === undefined || one.condition.operations.length > 0;
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function sealOf(stateKey: StateKey, writer: string, sequence: number, hash: string): string {
  return stateKey.authenticate(`journal\n${writer}\n${sequence}\n${hash}`);
}

function isSealed(stateKey: StateKey, writer: string, sequence: number, hash: string, seal: string): boolean {
  const [expected, found] = [Buffer.from(sealOf(stateKey, writer, sequence, hash)), Buffer.from(seal)];
  return expected.length === found.length && timingSafeEqual(expected, found);
}

function entryKey(writer: string, sequence: number): string {
  return `${entriesPrefix}${writer}/${String(sequence).padStart(sequenceDigits, "0")}`;
}

function chunkOf(sequence: number): number {
  return Math.floor(sequence / 10 ** chunkDigits);
}

function chunkPrefix(writer: string, chunk: number): string {
  return `${entriesPrefix}${writer}/${String(chunk).padStart(sequenceDigits - chunkDigits, "0")}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
