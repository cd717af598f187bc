import { messageOf } from "../base/coded-error.ts";
import { backoffDelay } from "../base/backoff.ts";
import type { BackoffPolicy } from "../base/backoff.ts";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";
import type { HeldCertificate } from "./certificate.ts";

/**
 * What is to be done about a certificate now. `late` means that less than half
 * of the outage budget (renewal point to expiry) is left.
 */
export type RenewalState = "missing" | "not-yet-valid" | "fresh" | "due" | "late" | "expired";

/** Half of the life, minus up to a tenth of it: every certificate has its own moment, the same after every restart. */
export function renewalTimeMs(certificate: HeldCertificate): number {
  const life = certificate.notAfterMs - certificate.notBeforeMs;
  const jitter = Number.parseInt(certificate.serial.slice(-6), 16) / 0xff_ff_ff;
  return certificate.notBeforeMs + life * (0.5 - 0.1 * (Number.isFinite(jitter) ? jitter : 0));
}

export function renewalState(certificate: HeldCertificate | undefined, nowMs: number): RenewalState {
  if (certificate === undefined) return "missing";
  if (nowMs >= certificate.notAfterMs) return "expired";
  const renewAtMs = renewalTimeMs(certificate);
  if (nowMs >= renewAtMs + (certificate.notAfterMs - renewAtMs) / 2) return "late";
  if (nowMs >= renewAtMs) return "due";
  return nowMs < certificate.notBeforeMs ? "not-yet-valid" : "fresh";
}

/** Why a new certificate must not replace one that holds: it does not hold by this host's clock. Where neither does, the new one is as good. */
export function findWrongTimes(next: HeldCertificate, current: HeldCertificate | undefined, nowMs: number): string | undefined {
  const holds = ({ notBeforeMs, notAfterMs }: HeldCertificate): boolean => notBeforeMs <= nowMs && nowMs < notAfterMs;
  if (holds(next) || current === undefined || !holds(current)) return undefined;
  const [from, until, now] = [next.notBeforeMs, next.notAfterMs, nowMs].map((ms) => new Date(ms).toISOString());
  return `it holds from ${from} until ${until}, and here it is ${now}: is the clock of the control plane wrong, or that of this host?`;
}

export interface RenewalOptions {
  /** For logs: `the host's certificate`. */
  readonly what: string;
  readonly current: () => HeldCertificate | undefined;
  /** True while the current one is for another identity than the wanted one: it is due whatever its time. */
  readonly isOutdated?: () => boolean;
  /** Gets and checks a new certificate, and puts it in use. */
  readonly renew: () => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: () => number;
}

/** Keeps one certificate renewed until it is closed. */
export interface Renewal extends Closable {
  /** Try at once: the control plane is back, or said so. */
  poke(): void;
}

const RETRY: BackoffPolicy = { baseMs: 1_000, maxMs: 60_000 };
/** The wall clock is looked at this often, because timers do not see it jump. */
const LOOK_EVERY_MS = 15_000;
const COMPLAIN_EVERY_MS = 600_000;

export function keepRenewed(options: RenewalOptions): Renewal {
  const { what, current, isOutdated = () => false, renew, clock, logger, random = Math.random } = options;
  let isClosed = false;
  let cancelTimer: (() => void) | undefined;
  let running: Promise<void> | undefined;
  let attempt = 0;
  let complainedAtMs = Number.NEGATIVE_INFINITY;

  const schedule = (delayMs: number): void => {
    cancelTimer?.();
    if (!isClosed) cancelTimer = clock.after(delayMs, look);
  };
  const look = (): void => {
    if (isClosed || running !== undefined) return;
    const state = renewalState(current(), clock.now());
    if (state === "fresh" && !isOutdated()) {
      schedule(LOOK_EVERY_MS);
      return;
    }
    running = tryOnce().finally(() => {
      running = undefined;
    });
  };
  const tryOnce = async (): Promise<void> => {
    try {
      await renew();
      if (isOutdated()) throw new Error("the authority still signs for another identity than the one that is wanted");
      if (renewalState(current(), clock.now()) === "not-yet-valid") throw new Error("the authority signs what does not hold yet by this host's clock");
      attempt = 0;
      complainedAtMs = Number.NEGATIVE_INFINITY;
      logger.info({ spiffeId: current()?.spiffeId.path, notAfter: isoOf(current()) }, `${what} was renewed`);
      schedule(LOOK_EVERY_MS);
    } catch (failure) {
      if (isClosed) return;
      const state = renewalState(current(), clock.now());
      const facts = { state, notAfter: isoOf(current()), reason: messageOf(failure) };
      if (state === "expired") complain(facts, `${what} has EXPIRED and cannot be renewed: peers refuse it`);
      else if (state === "not-yet-valid") complain(facts, `${what} is not valid yet: this host's clock is behind, or that of the control plane was ahead`);
      else if (state === "late") complain(facts, `${what} cannot be renewed and less than half of the outage budget is left`);
      else logger.warn(facts, `${what} could not be renewed yet`);
      schedule(backoffDelay(RETRY, attempt++, random));
    }
  };
  const complain = (facts: Readonly<Record<string, unknown>>, message: string): void => {
    const sinceMs = clock.now() - complainedAtMs;
    // A clock that jumped back must not silence us.
    if (sinceMs >= 0 && sinceMs < COMPLAIN_EVERY_MS) return;
    complainedAtMs = clock.now();
    logger.error(facts, message);
  };

  schedule(0);
  return {
    poke() {
      attempt = 0;
      schedule(0);
    },
    async close() {
      isClosed = true;
      cancelTimer?.();
      await running;
    },
  };
}

function isoOf(certificate: HeldCertificate | undefined): string | undefined {
  return certificate === undefined ? undefined : new Date(certificate.notAfterMs).toISOString();
}
