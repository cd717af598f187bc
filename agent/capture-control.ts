import { isDeepStrictEqual } from "node:util";

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/coded-error.ts";
import { formatIssue } from "../base/issue.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";
import { applyCapture, applyCaptureWithConfirm, readCaptureStatus, recoverCapture, revertCapture, verifyCapture } from "./interception/apply.ts";
import type { CaptureTarget } from "./interception/apply.ts";
import { keepBootGuard } from "./interception/boot-guard.ts";
import type { CaptureSpec } from "./interception/capture-spec.ts";
import { planCapture, withoutNameQueries } from "./interception/plan.ts";
import type { CapturePlan } from "./interception/plan.ts";

export interface CaptureControlOptions {
  readonly target: CaptureTarget;
  /**
   * What is wanted now; undefined while Envoy could not serve what would be captured.
   */
  readonly wanted: () => Promise<WantedRules | undefined>;
  /** Whether the host is reachable and well under a plan that was never in force here. */
  readonly confirm: () => Promise<boolean>;
  readonly drainMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onChange: () => void;
}

export interface WantedRules {
  readonly spec: CaptureSpec;
  /** Changes where equal rules must be loaded again. */
  readonly stamp: string;
  /** What should be captured and cannot be, and why, a line each. */
  readonly uncaptured: readonly string[];
}

/** What people see of it. */
export interface CaptureStatus {
  readonly state: "off" | "waiting" | "active" | "failed" | "reverted";
  readonly detail: string;
  readonly uncaptured: readonly string[];
}

/** Keeps the kernel's rules as they are wanted. Closing leaves them in force. */
export interface CaptureControl extends Closable {
  status(): CaptureStatus;
  /** Something that rules depend on changed. */
  poke(): void;
  /** For the end of an agent that nobody listens in place of: name queries go where they were sent again; the other rules stay. */
  releaseNames(): Promise<void>;
  /** Takes every rule away, captured connections ending by themselves first. */
  remove(): Promise<void>;
  close(): Promise<void>;
}

const LOOK_EVERY_MS = 2_000;
const VERIFY_EVERY_LOOKS = 5;
const CONFIRM_MS = 10_000;

export function startCaptureControl(options: CaptureControlOptions): CaptureControl {
  const { target, wanted, confirm, drainMs, clock, logger, onChange } = options;
  let status: CaptureStatus = { state: "waiting", detail: "", uncaptured: [] };
  let applied: { readonly plan: CapturePlan; readonly stamp: string } | undefined;
  let refused: CapturePlan | undefined;
  let isClosed = false;
  let isRecovered = false;
  let looks = 0;
  let isPoked = false;
  let running: Promise<void> | undefined;
  let cancel: (() => void) | undefined;

  const enter = (state: CaptureStatus["state"], detail = ""): void => {
    const isNews = status.state !== state || status.detail !== detail;
    status = { ...status, state, detail };
    if (isNews) onChange();
  };
  const leaveOut = (uncaptured: readonly string[]): void => {
    if (isDeepStrictEqual(status.uncaptured, uncaptured)) return;
    status = { ...status, uncaptured };
    for (const what of uncaptured) logger.error({ what }, "this cannot be captured; everything else is");
    onChange();
  };
  const step = async (): Promise<void> => {
    if (!isRecovered) {
      const record = await recoverCapture(target, { drainTimeoutMs: drainMs });
      isRecovered = true;
      // Rules of an agent before us are in force, and this very plan was confirmed.
      if (record?.capture === "active" && record.confirmed !== undefined && isDeepStrictEqual(record.confirmed, record.plan)) {
        applied = { plan: record.plan, stamp: "before" };
        // A reboot leaves the record and takes the rules.
        if (!(await noticeLoss())) enter("active", "as the agent before left it");
      }
    }
    const want = await wanted();
    looks += 1;
    if (want === undefined) {
      if (looks % VERIFY_EVERY_LOOKS === 0) await noticeLoss();
      return;
    }
    leaveOut(want.uncaptured);
    const plan = planCapture(want.spec);
    if (!plan.ok) {
      enter("failed", plan.error.map(formatIssue).join("; "));
      return;
    }
    const isSame = applied !== undefined && isDeepStrictEqual(applied.plan, plan.value);
    if (isSame && applied?.stamp === want.stamp) {
      if (looks % VERIFY_EVERY_LOOKS === 0 || status.state !== "active") await mend(plan.value);
      enter("active");
      return;
    }
    if (refused !== undefined && isDeepStrictEqual(refused, plan.value)) return;
    // What no virtual range closes anew cannot lock anyone out of what worked under the plan before.
    if (applied !== undefined && isDeepStrictEqual(applied.plan.vipRanges, plan.value.vipRanges)) {
      await applyCapture(target, plan.value);
    } else if ((await applyCaptureWithConfirm(target, plan.value, { confirm, timeoutMs: CONFIRM_MS, drainTimeoutMs: drainMs })) === "reverted") {
      refused = plan.value;
      logger.error("the capture rules were taken back: under them the host could not be confirmed to be well");
      enter("reverted", "the host could not be confirmed to be well under the new rules");
      return;
    }
    await keepBootGuard(target, plan.value);
    refused = undefined;
    applied = { plan: plan.value, stamp: want.stamp };
    logger.info({ outbound: want.spec.outbound.map(({ workload }) => workload), inbound: want.spec.inbound.map(({ port }) => port), backend: target.backend }, "capture rules are in force");
    enter("active");
  };
  /** Rules that are gone while Envoy could not serve what they capture: said, and applied again once it can. */
  const noticeLoss = async (): Promise<boolean> => {
    if (applied === undefined) return false;
    const drift = await verifyCapture(target);
    if (drift.length === 0) return false;
    applied = { plan: applied.plan, stamp: "lost" };
    enter("waiting", drift.map(({ message }) => message).join("; "));
    return true;
  };
  const mend = async (plan: CapturePlan): Promise<void> => {
    const drift = await verifyCapture(target);
    if (drift.length === 0) return;
    logger.warn({ drift: drift.map(({ message }) => message) }, "somebody changed this host's capture rules; they are applied again");
    await applyCapture(target, plan);
  };
  const look = (): void => {
    if (isClosed) return;
    cancel?.();
    if (running !== undefined) {
      isPoked = true;
      return;
    }
    isPoked = false;
    running = step()
      .catch((failure: unknown) => {
        logger.error({ err: failure, reason: messageOf(failure) }, "capture rules cannot be applied");
        enter("failed", messageOf(failure));
      })
      .finally(() => {
        running = undefined;
        if (isPoked) look();
        else if (!isClosed) cancel = clock.after(LOOK_EVERY_MS, look);
      });
  };
  const stop = async (): Promise<void> => {
    isClosed = true;
    cancel?.();
    await running;
  };
  look();
  return {
    status: () => status,
    poke: look,
    async releaseNames() {
      await stop();
      // Also the rules of an agent before us, that this one did not come to.
      const record = await readCaptureStatus(target);
      if (record?.capture !== "active") return;
      const plan = withoutNameQueries(record.plan);
      if (!isDeepStrictEqual(plan, record.plan)) await applyCapture(target, plan);
    },
    async remove() {
      await stop();
      await keepBootGuard(target, undefined);
      await revertCapture(target, { guard: "remove", drainTimeoutMs: drainMs });
      enter("off");
    },
    close: stop,
  };
}
