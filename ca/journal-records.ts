import { createHash, timingSafeEqual } from "node:crypto";
import { z } from "zod";

import type { KeyValueStore } from "../store/key-value.ts";
import { caError } from "./errors.ts";
import type { StateKey } from "./key-file.ts";
import { readRecord } from "./record.ts";

/** One entry, as the store keeps it. */
export const entrySchema = z.strictObject({
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

/** Where a chain ends; sequence 0 and no hash for one without entries. */
export interface ChainEnd {
  readonly sequence: number;
  /** Of the last entry's text. */
  readonly hash: string;
}

const headSchema = z.strictObject({ sequence: z.int(), hash: z.string(), seal: z.string() });

/** The end of a chain in the store, with the revision that a change of it is compared with; 0 for a chain without entries. */
export interface StoredEnd extends ChainEnd {
  readonly revision: number;
}

const noEntries: ChainEnd = { sequence: 0, hash: "" };
const entriesPrefix = "ca/journal/";
const sequenceDigits = 12;
/** Entries are read in pieces of 1,000: all whose number differs in the last three digits only. */
const chunkDigits = 3;

/** One item for each that ever wrote. */
export const headsPrefix = "ca/journal-heads/";

/** Rejects with `MESH_CA_STATE_DAMAGED` where it was not sealed with this key file. */
export async function readEnd(store: KeyValueStore, stateKey: StateKey, writer: string): Promise<StoredEnd> {
  const item = await store.get(headsPrefix + writer);
  if (item === undefined) return { ...noEntries, revision: 0 };
  const { record, revision } = readRecord(headSchema, item);
  const { sequence, hash, seal } = record;
  if (!isSame(seal, sealOf(stateKey, writer, { sequence, hash }))) {
    throw caError("MESH_CA_STATE_DAMAGED", `the end of the journal of ${writer} was not written by an authority with this key file`);
  }
  return { sequence, hash, revision };
}

/** The end of a chain as the store says it, whoever wrote that. */
export async function readClaimedEnd(store: KeyValueStore, writer: string): Promise<ChainEnd> {
  const item = await store.get(headsPrefix + writer);
  try {
    return item === undefined ? noEntries : headSchema.parse(JSON.parse(item.value));
  } catch {
    return noEntries;
  }
}

export function encodeEnd(stateKey: StateKey, writer: string, { sequence, hash }: ChainEnd): string {
  return JSON.stringify({ sequence, hash, seal: sealOf(stateKey, writer, { sequence, hash }) });
}

function sealOf(stateKey: StateKey, writer: string, { sequence, hash }: ChainEnd): string {
  return stateKey.authenticate(`journal\n${writer}\n${sequence}\n${hash}`);
}

/** In a time that tells nothing of where they differ. */
export function isSame(one: string, other: string): boolean {
  const [left, right] = [Buffer.from(one), Buffer.from(other)];
  return left.length === right.length && timingSafeEqual(left, right);
}

export function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

export function entryKey(writer: string, sequence: number): string {
  return `${entriesPrefix}${writer}/${String(sequence).padStart(sequenceDigits, "0")}`;
}

export function chunkOf(sequence: number): number {
  return Math.floor(sequence / 10 ** chunkDigits);
}

export function chunkPrefix(writer: string, chunk: number): string {
  return `${entriesPrefix}${writer}/${String(chunk).padStart(sequenceDigits - chunkDigits, "0")}`;
}
