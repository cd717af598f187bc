import { readdir, readFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { z } from "zod";

import { writeFileAtomically } from "../base/atomic-file.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/coded-error.ts";
import type { Closable } from "../base/task-group.ts";
import type { KeyValueStore } from "../store/key-value.ts";
import { entryKey, hashOf, headsPrefix, isSame, readClaimedEnd, readEnd } from "./journal-records.ts";
import type { ChainEnd } from "./journal-records.ts";
import type { StateKey } from "./key-file.ts";

/** The first ones are told; who makes more has been found out. */
const maxLosses = 16;

const lossSchema = z.strictObject({ what: z.string(), atMs: z.int() });

const keptSchema = z.strictObject({
  sequence: z.int(),
  hash: z.string(),
  /** What was found missing; stays until a person removes the file. */
  losses: z.array(lossSchema),
  seal: z.string(),
});

type Loss = z.output<typeof lossSchema>;

interface Kept extends ChainEnd {
  readonly losses: readonly Loss[];
}

export interface JournalEndOptions {
  readonly store: KeyValueStore;
  readonly clock: Clock;
  readonly stateKey: StateKey;
  /** The end is kept in a file beside it, `KEYFILE.journal-WRITER`. */
  readonly keyFile: string;
  readonly writer: string;
  /** True while this replica makes the authority: there is no journal yet. */
  readonly isNewAuthority: boolean;
}

/**
 * How far a writer's chain reached, kept beside the key file and not in the
 * store, so that who has the store alone cannot cut the chain's end unseen. The
 * file is written after the entries and before they count as written: it may
 * lag by those that were being written when the machine stopped, and never leads.
 *
 * What remains possible: to cut those entries; to set back store and file
 * together, for who has both; and to cut the chain of a replica whose file is
 * on another machine, until that replica looks.
 */
export interface JournalEnd extends Closable {
  /** The chain reaches so far. Resolves when the file says so, or cannot. */
  keep(end: ChainEnd): Promise<void>;
  /** Whether the chain in the store, which ends so, goes on from what was kept. False once for a loss, which is noted, and then taken as it is. */
  accept(found: ChainEnd): Promise<boolean>;
  /** Why the file cannot be written, in words. */
  problem(): string | undefined;
}

export async function openJournalEnd(options: JournalEndOptions): Promise<JournalEnd> {
  const { store, clock, stateKey, keyFile, writer, isNewAuthority } = options;
  const path = pathOf(keyFile, writer);
  const earlier = await readKept(keyFile, stateKey, writer);
  // A file that somebody else wrote is evidence, and is left alone.
  const isForeign = earlier !== undefined && "problem" in earlier;
  let kept: Kept = earlier === undefined || isForeign ? { sequence: 0, hash: "", losses: [] } : earlier;
  let failure: unknown;
  let running = Promise.resolve();
  let next: Promise<void> | undefined;

  async function write(): Promise<void> {
    const { sequence, hash, losses } = kept;
    try {
      await writeFileAtomically(path, `${JSON.stringify({ sequence, hash, losses, seal: sealOf(stateKey, writer, kept) })}\n`);
      failure = undefined;
    } catch (error) {
      failure = error;
    }
  }

  /** Joins the write that has not begun. */
  function save(): Promise<void> {
    if (isForeign) return Promise.resolve();
    next ??= running.then(() => {
      next = undefined;
      running = write();
      return running;
    });
    return next;
  }

  async function accept(found: ChainEnd): Promise<boolean> {
    const what = await lossIn(store, writer, kept, found);
    if (what === undefined) return true;
    kept = { ...found, losses: [...kept.losses, { what, atMs: clock.now() }].slice(0, maxLosses) };
    await save();
    return false;
  }

  const found = await readEnd(store, stateKey, writer);
  if (earlier === undefined && !isNewAuthority && found.sequence === 0 && (await store.list(headsPrefix)).items.length === 0) {
    // The authority's creation is an entry, in one transaction with the authority.
    kept = { ...kept, losses: [{ what: "all entries are gone: the authority is there, and its creation is not in the journal", atMs: clock.now() }] };
    await save();
  } else if (await accept(found)) {
    kept = { sequence: found.sequence, hash: found.hash, losses: kept.losses };
    if (found.sequence > 0) await save();
  }

  return {
    keep({ sequence, hash }) {
      kept = { sequence, hash, losses: kept.losses };
      return save();
    },
    accept,
    problem: () => (failure === undefined ? undefined : `how far it reaches cannot be kept in ${path}: ${messageOf(failure)}`),
    async close() {
      await (next ?? running);
    },
  };
}

/** What is missing from a chain, as the file beside the key file tells it; empty where there is no file. */
export async function judgeKeptEnd(store: KeyValueStore, keyFile: string, stateKey: StateKey, writer: string): Promise<string[]> {
  // Before the store: meanwhile the chain may only grow.
  const kept = await readKept(keyFile, stateKey, writer);
  if (kept === undefined) return [];
  if ("problem" in kept) return [kept.problem];
  const now = await lossIn(store, writer, kept, await readClaimedEnd(store, writer));
  return [...kept.losses.map(({ what, atMs }) => `${what} (found at ${new Date(atMs).toISOString()})`), ...(now === undefined ? [] : [now])];
}

/** The writers whose ends are kept beside this key file. */
export async function keptWriters(keyFile: string): Promise<string[]> {
  const prefix = `${basename(keyFile)}.journal-`;
  const names = await readdir(dirname(keyFile)).catch(() => []);
  return names.filter((name) => name.startsWith(prefix) && !name.endsWith(".tmp")).map((name) => name.slice(prefix.length));
}

async function lossIn(store: KeyValueStore, writer: string, kept: ChainEnd, found: ChainEnd): Promise<string | undefined> {
  if (kept.sequence === 0) return undefined;
  if (found.sequence < kept.sequence) {
    const from = found.sequence + 1;
    return from === kept.sequence ? `entry ${from} was written and is gone` : `entries ${from} to ${kept.sequence} were written and are gone`;
  }
  const last = await store.get(entryKey(writer, kept.sequence));
  return last !== undefined && hashOf(last.value) === kept.hash ? undefined : `entry ${kept.sequence} is not the one that was written`;
}

async function readKept(keyFile: string, stateKey: StateKey, writer: string): Promise<Kept | { readonly problem: string } | undefined> {
  const path = pathOf(keyFile, writer);
  try {
    const { seal, ...kept } = keptSchema.parse(JSON.parse(await readFile(path, "utf8")));
    if (isSame(seal, sealOf(stateKey, writer, kept))) return kept;
  } catch (failure) {
    if (failure instanceof Error && "code" in failure) {
      return failure.code === "ENOENT" ? undefined : { problem: `how far it reached cannot be read from ${path}: ${failure.message}` };
    }
  }
  return { problem: `how far it reached is not known: ${path} was changed, or written with another key file` };
}

function sealOf(stateKey: StateKey, writer: string, { sequence, hash, losses }: Kept): string {
  return stateKey.authenticate(`journal end\n${writer}\n${JSON.stringify([sequence, hash, losses])}`);
}

function pathOf(keyFile: string, writer: string): string {
  return `${keyFile}.journal-${writer}`;
}
