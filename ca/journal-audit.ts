import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";
import type { KeyValueStore } from "../store/key-value.ts";
import { journalWriters, readJournal, verifyJournal } from "./journal.ts";
import { judgeKeptEnd, keptWriters } from "./journal-end.ts";
import type { JournalEnd } from "./journal-end.ts";
import type { JournalEntry } from "./journal-records.ts";
import type { StateKey } from "./key-file.ts";

export interface JournalReport {
  /** By time, then by writer. */
  readonly entries: readonly JournalEntry[];
  /** `WRITER: what is wrong`; empty for sound chains. */
  readonly problems: readonly string[];
}

/** Verifies all chains at its start, every hour, and whenever it is asked; what is wrong goes into the log, once. */
export interface JournalAudit extends Closable {
  report(last?: number): Promise<JournalReport>;
  /** What was wrong when it looked last. */
  problems(): readonly string[];
}

export interface JournalAuditOptions {
  readonly store: KeyValueStore;
  readonly clock: Clock;
  readonly stateKey: StateKey;
  readonly keyFile: string;
  readonly writer: string;
  /** Of this writer. */
  readonly end: JournalEnd;
  readonly logger: Logger;
}

const intervalMs = 3_600_000;

export function startJournalAudit(options: JournalAuditOptions): JournalAudit {
  const { store, clock, stateKey, keyFile, writer, end, logger } = options;
  let known: readonly string[] = [];
  let isClosed = false;
  let cancel = (): void => {};

  async function verify(): Promise<readonly string[]> {
    const found: string[] = [];
    const inStore = new Set(await journalWriters(store));
    for (const one of new Set([...inStore, ...(await keptWriters(keyFile))])) {
      const chain = inStore.has(one) ? await verifyJournal(store, stateKey, one) : [];
      const lost = await judgeKeptEnd(store, keyFile, stateKey, one);
      found.push(...[...chain, ...lost].map((problem) => `${one}: ${problem}`));
    }
    const unkept = end.problem();
    if (unkept !== undefined) found.push(`${writer}: ${unkept}`);
    for (const problem of found) if (!known.includes(problem)) logger.error({ problem }, "the journal is damaged");
    known = found;
    return found;
  }

  async function watch(): Promise<void> {
    try {
      await verify();
    } catch (err) {
      logger.error({ err }, "the journal cannot be verified");
    }
    if (!isClosed) cancel = clock.after(intervalMs, () => void (running = watch()));
  }

  let running = watch();
  return {
    async report(last) {
      const problems = await verify();
      const entries: JournalEntry[] = [];
      for (const one of await journalWriters(store)) entries.push(...(await readJournal(store, one, last)));
      return { entries: entries.sort((a, b) => a.atMs - b.atMs || a.sequence - b.sequence), problems };
    },
    problems: () => known,
    async close() {
      isClosed = true;
      cancel();
      await running;
    },
  };
}
