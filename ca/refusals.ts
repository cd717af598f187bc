import type { Clock } from "../base/clock.ts";
import type { CodedError } from "../base/coded-error.ts";
import { foreignText } from "../base/foreign-text.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";
import type { Journal, JournalEvent } from "./journal.ts";
import { peerNetwork } from "./peer-network.ts";

/**
 * Takes note of refusals, in the log and in the journal, so that strangers
 * cannot fill the disk: of each peer the first ones are written, and then one
 * line and one entry in a minute say how many there were. Nothing of what is
 * granted goes through here.
 */
export interface Refusals extends Closable {
  /**
   * Written, or counted, when it resolves. Never rejects.
   *
   * @param facts say in `peer` (an address), or else in `hostId`, who was refused
   */
  note(type: JournalEvent["type"], facts: JournalEvent["facts"], failure: CodedError): Promise<void>;
}

export interface RefusalsOptions {
  readonly journal: Pick<Journal, "append">;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Of all peers together; more are counted only. */
  readonly perMinute: number;
}

interface Peer {
  written: number;
  lastMs: number;
  counted: number;
  readonly codes: Set<string>;
}

/** A person who mistypes a token, or a few hosts behind one address, are noted in full. */
const burst = 20;
const countMs = 60_000;
/** Whoever was silent for so long is noted in full again. */
const quietMs = 3_600_000;
/** Peers that are told apart; more share one count. */
const maxPeers = 64;
const maxCodes = 8;
const maxMessage = 128;

export function noteRefusals({ journal, clock, logger, perMinute }: RefusalsOptions): Refusals {
  const peers = new Map<string, Peer>();
  // Those who are too many to be told apart are counted from the first.
  const others: Peer = { written: burst, lastMs: 0, counted: 0, codes: new Set() };
  let written = { minute: 0, count: 0 };
  let cancel: (() => void) | undefined;
  let counting = Promise.resolve();

  function peerOf(name: string): Peer {
    const now = clock.elapsed();
    const known = peers.get(name);
    if (known !== undefined) {
      if (now - known.lastMs >= quietMs) known.written = 0;
      known.lastMs = now;
      return known;
    }
    if (peers.size >= maxPeers) forgetQuiet(now);
    if (peers.size >= maxPeers) return others;
    const fresh: Peer = { written: 0, lastMs: now, counted: 0, codes: new Set() };
    peers.set(name, fresh);
    return fresh;
  }

  function forgetQuiet(now: number): void {
    for (const [name, { lastMs, counted }] of peers) if (counted === 0 && now - lastMs >= quietMs) peers.delete(name);
  }

  function mayWrite(peer: Peer): boolean {
    const minute = Math.floor(clock.elapsed() / countMs);
    if (minute !== written.minute) written = { minute, count: 0 };
    if (peer.written >= burst || written.count >= perMinute) return false;
    peer.written += 1;
    written.count += 1;
    return true;
  }

  async function append(event: JournalEvent): Promise<void> {
    try {
      await journal.append(event);
    } catch (err) {
      logger.error({ err }, "could not note a refusal in the journal");
    }
  }

  async function tellCounts(): Promise<void> {
    cancel = undefined;
    for (const [name, peer] of [...peers, ["others", others] as const]) {
      if (peer.counted === 0) continue;
      const facts = { peer: name, refusals: peer.counted, codes: [...peer.codes] };
      peer.counted = 0;
      peer.codes.clear();
      logger.warn(facts, "refused again and again");
      await append({ type: "refusals-counted", facts });
    }
  }

  return {
    async note(type, facts, { code, message }) {
      const peer = peerOf(nameOf(facts));
      if (mayWrite(peer)) {
        logger.warn({ ...facts, code }, `refused: ${message}`);
        await append({ type, facts: { ...facts, code, message: foreignText(message, maxMessage) } });
        return;
      }
      peer.counted += 1;
      if (peer.codes.size < maxCodes) peer.codes.add(code);
      cancel ??= clock.after(countMs, () => void (counting = counting.then(tellCounts)));
    },

    async close() {
      cancel?.();
      await counting;
      await tellCounts();
    },
  };
}

function nameOf({ peer, hostId }: JournalEvent["facts"]): string {
  if (typeof peer === "string" && peer !== "") return peerNetwork(peer);
  return typeof hostId === "string" ? hostId : "unknown";
}
