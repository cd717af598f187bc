import type { Clock } from "../../../base/clock.ts";

/** How questions about services share what Consul gives one address. */
export interface SchedulePacing {
  /** How long Consul may hold a question when nothing changes, at least and at most. Milliseconds. */
  readonly waitMs: number;
  readonly maxWaitMs: number;
  /** Questions at a time that Consul answers at once; each costs it a third of a millisecond. */
  readonly maxQuick: number;
  /** Where not every service can have a question that waits: how many are asked again in a second. */
  readonly sweepPerSecond: number;
  /** There, a service is asked again after this time although nothing points at it. Milliseconds. */
  readonly slowPassMs: number;
}

/** Leave to ask. Its holder gives it back. */
export interface Turn {
  /** 0: ask for an answer at once. Milliseconds. */
  readonly waitMs: number;
  /** Aborts when the place is needed: what waits for a change is asked anew later. */
  readonly signal: AbortSignal;
  release(): void;
}

/** So many services more, so much longer their questions may wait: asking all of them anew costs. */
const WAIT_MS_PER_SERVICE = 30;
/** Connections that are not for services: the list of names, and what points at them while the schedule is crowded. */
export const RESERVED = 4;
/** A schedule that is crowded becomes roomy again only below this part of its capacity, so that one service that comes and goes does not stir all. */
const ROOMY_PART = 0.9;
const TICK_MS = 50;
/** What a busy machine lets slip is made up for, up to so many ticks. */
const BURST_TICKS = 4;

/** One service's part in the schedule. */
export class Place {
  /** Of the schedule's rounds, the one in which it was asked last. */
  round = -1;
  askedAt = 0;
  /** Something points at it. */
  isUrgent = false;
  grant: ((turn: Turn) => void) | undefined;
}

/**
 * Who asks when. While there is room, every service has a question that waits,
 * and hears of a change at once. Where there are more services than Consul
 * gives connections, nobody waits at Consul: a service is asked when something
 * points at it (`hurry`), once after anything was registered (`stir`), and once
 * in a slow pass; those that were asked longest ago come first, and no more
 * than `sweepPerSecond` of them.
 */
export class Schedule {
  readonly #capacity: () => number;
  readonly #clock: Clock;
  readonly #pacing: SchedulePacing;
  readonly #places = new Set<Place>();
  /** First questions, those after a failure, and urgent ones. */
  readonly #soon = new Set<Place>();
  /** Not asked in this round yet, those that were asked longest ago first. */
  readonly #behind = new Set<Place>();
  /** Asked in this round already, and again only in the slow pass. */
  readonly #swept = new Set<Place>();
  #round = 0;
  #quick = 0;
  #allowance = 0;
  #refilledAt: number;
  #tick: { readonly at: number; readonly cancel: () => void } | undefined;
  #isCrowded = false;
  #holding = new AbortController();
  readonly #never = new AbortController().signal;

  /** @param capacity how many questions may wait at Consul at a time */
  constructor(capacity: () => number, clock: Clock, pacing: SchedulePacing) {
    this.#capacity = capacity;
    this.#clock = clock;
    this.#pacing = pacing;
    this.#refilledAt = clock.elapsed();
  }

  get isCrowded(): boolean {
    return this.#isCrowded;
  }

  get size(): number {
    return this.#places.size;
  }

  join(): Place {
    const place = new Place();
    this.#places.add(place);
    this.#judge();
    return place;
  }

  leave(place: Place): void {
    this.#places.delete(place);
    this.#unqueue(place);
    this.#judge();
  }

  /** Something was registered, changed or removed, and nobody says what: each is asked once more. */
  stir(): void {
    this.#round += 1;
    for (const place of this.#swept) this.#behind.add(place);
    this.#swept.clear();
    this.#pump();
  }

  /** What waits at Consul may wait for something that will never come: everything is asked from the beginning. */
  restart(): void {
    this.#holding.abort();
    this.#holding = new AbortController();
    this.stir();
  }

  /** This one changed. */
  hurry(place: Place): void {
    if (!this.isCrowded || !this.#places.has(place)) return;
    place.isUrgent = true;
    if (this.#behind.delete(place) || this.#swept.delete(place)) this.#soon.add(place);
    this.#pump();
  }

  /** @param isFirst its answer has nothing to wait for: the first one, or the one after a failure */
  turn(place: Place, isFirst: boolean, signal: AbortSignal): Promise<Turn> {
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        place.grant = undefined;
        this.#unqueue(place);
        reject(signal.reason as Error);
      };
      if (signal.aborted) {
        abort();
        return;
      }
      signal.addEventListener("abort", abort, { once: true });
      place.grant = (turn) => {
        signal.removeEventListener("abort", abort);
        place.grant = undefined;
        resolve(turn);
      };
      // An agent may turn out to take less than was thought.
      this.#judge();
      if (!isFirst && !this.isCrowded) {
        place.grant({ waitMs: this.#heldMs(), signal: this.#holding.signal, release() {} });
        return;
      }
      // Who comes from a question of the round before has missed what was registered since, however late it comes.
      (isFirst || place.isUrgent ? this.#soon : place.round < this.#round ? this.#behind : this.#swept).add(place);
      this.#pump();
    });
  }

  close(): void {
    this.#tick?.cancel();
    this.#tick = undefined;
  }

  #judge(): void {
    const room = Math.max(1, this.#capacity() - RESERVED);
    const size = this.#places.size;
    if (this.isCrowded && size <= room * ROOMY_PART) {
      this.#isCrowded = false;
      // Whoever waited for a turn may wait at Consul now.
      this.stir();
    } else if (!this.isCrowded && size > room) {
      this.#isCrowded = true;
      this.restart();
    }
  }

  #pump(): void {
    this.#refill();
    const limit = Math.max(1, Math.min(this.#pacing.maxQuick, this.#capacity() - RESERVED));
    while (this.#quick < limit) {
      const [soon] = this.#soon;
      if (soon !== undefined) {
        this.#soon.delete(soon);
        this.#grantQuick(soon);
        continue;
      }
      const next = this.#next();
      if (next === undefined || !this.#isDue(next) || this.#allowance < 1) break;
      this.#allowance -= 1;
      this.#unqueue(next);
      this.#grantQuick(next);
    }
    this.#planTick();
  }

  #heldMs(): number {
    const { waitMs, maxWaitMs } = this.#pacing;
    return Math.max(waitMs, Math.min(maxWaitMs, this.#places.size * WAIT_MS_PER_SERVICE));
  }

  #next(): Place | undefined {
    const [behind] = this.#behind;
    const [swept] = this.#swept;
    return behind ?? swept;
  }

  #unqueue(place: Place): void {
    for (const queue of [this.#soon, this.#behind, this.#swept]) queue.delete(place);
  }

  #isDue(place: Place): boolean {
    return place.round < this.#round || this.#clock.elapsed() - place.askedAt >= this.#pacing.slowPassMs;
  }

  #grantQuick(place: Place): void {
    this.#quick += 1;
    place.round = this.#round;
    place.askedAt = this.#clock.elapsed();
    place.isUrgent = false;
    let isHeld = true;
    place.grant?.({
      waitMs: 0,
      signal: this.#never,
      release: () => {
        if (!isHeld) return;
        isHeld = false;
        this.#quick -= 1;
        this.#pump();
      },
    });
  }

  #refill(): void {
    const now = this.#clock.elapsed();
    const perTick = (this.#pacing.sweepPerSecond * TICK_MS) / 1_000;
    this.#allowance = Math.min(Math.max(1, perTick * BURST_TICKS), this.#allowance + ((now - this.#refilledAt) * this.#pacing.sweepPerSecond) / 1_000);
    this.#refilledAt = now;
  }

  /** Comes back when there is something to grant that is not grantable now. */
  #planTick(): void {
    const next = this.#next();
    if (next === undefined) return;
    const delayMs = this.#isDue(next) ? TICK_MS : Math.min(this.#pacing.slowPassMs, 1_000);
    const at = this.#clock.elapsed() + delayMs;
    if (this.#tick !== undefined && this.#tick.at <= at) return;
    this.#tick?.cancel();
    const cancel = this.#clock.after(delayMs, () => {
      this.#tick = undefined;
      // An agent may turn out to take more than it did.
      this.#judge();
      this.#pump();
    });
    this.#tick = { at, cancel };
  }
}
