import { setTimeout as sleep } from "node:timers/promises";
import { CodedError, messageOf } from "../../base/coded-error.ts";
import { readCaptureRecord, removeCaptureRecord, writeCaptureRecord } from "./capture-record.ts";
import type { CaptureRecord, OwnedPieces, WantedCapture } from "./capture-record.ts";
import { captureSteps } from "./capture-steps.ts";
import type { CaptureStep, IptablesStates } from "./capture-steps.ts";
import type { CommandRunner } from "./command-runner.ts";
import { countConnections, fingerprintRules, hasLoopbackAddress, hasRoute, readHostFacts } from "./host-facts.ts";
import type { Backend, HostFacts } from "./host-facts.ts";
import { unusedTableLine } from "./iptables-ruleset.ts";
import { listXtables } from "./iptables-tables.ts";
import { EMPTY_PLAN } from "./plan.ts";
import { expectedIptables } from "./render-iptables.ts";
import type { CapturePlan } from "./plan.ts";
import { armReverter, claimReturn, confirmReverter, disarmReverter } from "./reverter.ts";
import type { ReverterKind, RevertPhase } from "./reverter.ts";

/** The host that rules are applied to. One caller at a time: the agent queues its changes. */
export interface CaptureTarget {
  readonly runner: CommandRunner;
  readonly backend: Backend;
  readonly reverter: ReverterKind;
  /** Where it is kept what is applied: `/var/lib/ironmesh/capture.json`. */
  readonly recordPath: string;
}

export interface RevertOptions {
  /** `keep`: a pause, fail-closed ports stay closed and capture ports reserved. `remove`: nothing of ours is left. */
  readonly guard: "keep" | "remove";
  /** How long captured connections may take to end by themselves; those left then are reset. */
  readonly drainTimeoutMs: number;
}

export interface ConfirmOptions {
  /** Says whether the host is still reachable and well; a failure counts as no. */
  readonly confirm: () => Promise<boolean>;
  readonly timeoutMs: number;
  readonly drainTimeoutMs: number;
  /** How long, beside the drain, this process may take to go back by itself before it is taken for dead; 30 s unless told. */
  readonly returnGraceMs?: number;
}

/** The reverter acts this long after the agent itself should have. */
const REVERTER_GRACE_MS = 2000;
const RETURN_GRACE_MS = 30_000;
const DRAIN_POLL_MS = 100;

/** Puts a plan in force and makes it the one to go back to. Applying it again changes nothing that anybody can notice. */
export async function applyCapture(target: CaptureTarget, plan: CapturePlan): Promise<void> {
  await disarmReverter(target);
  await put(target, { plan, capture: "active", guard: "active" }, { isPending: false });
}

/**
 * Puts a plan in force until it is confirmed, else goes back to the last
 * confirmed one, or to nothing. A process of its own takes the rules back even
 * if this one is killed.
 */
export async function applyCaptureWithConfirm(target: CaptureTarget, plan: CapturePlan, options: ConfirmOptions): Promise<"confirmed" | "reverted"> {
  await disarmReverter(target);
  const before = await readCaptureRecord(target.recordPath);
  const record = await draftRecord(target, before, { plan, capture: "active", guard: "active" }, { isPending: true });
  // Written first: whatever the reverter finds done, its record covers it.
  await writeCaptureRecord(target.recordPath, record);
  try {
    await armReverter(target, await revertPhases(target, record, options), {
      delayMs: options.timeoutMs + REVERTER_GRACE_MS,
      returnMs: options.drainTimeoutMs + (options.returnGraceMs ?? RETURN_GRACE_MS),
    });
  } catch (failure) {
    await disarmReverter(target);
    await (before === undefined ? removeCaptureRecord(target.recordPath) : writeCaptureRecord(target.recordPath, before));
    throw failure;
  }
  try {
    await enforce(target, record);
    if ((await isConfirmed(options)) && (await confirmReverter(target))) {
      const applied = (await readCaptureRecord(target.recordPath)) ?? record;
      await writeCaptureRecord(target.recordPath, { ...applied, confirmed: plan, isPending: false });
      if (applied.replaced !== undefined) await removeReplaced(target, applied.replaced);
      return "confirmed";
    }
  } catch (failure) {
    await goBack(target, options);
    throw failure;
  }
  await goBack(target, options);
  return "reverted";
}

/**
 * After a start: a plan that a killed agent left unconfirmed is taken back, and
 * a removal that was under way is finished. Says what is in force then.
 */
export async function recoverCapture(target: CaptureTarget, options: { readonly drainTimeoutMs: number }): Promise<CaptureRecord | undefined> {
  await claimReturn(target, options.drainTimeoutMs + RETURN_GRACE_MS);
  const record = await readCaptureRecord(target.recordPath);
  const isHalfApplied = record?.capture === "active" && record.fingerprint === undefined;
  if (record?.isPending === true || isHalfApplied) await goBack(target, options);
  else if (record?.capture === "drained") await takeBack(target, { ...options, guard: record.guard === "active" ? "keep" : "remove" });
  await disarmReverter(target);
  return readCaptureRecord(target.recordPath);
}

/**
 * Stops capturing. Connections that are captured live on until they end or the
 * time is over: deleting the rules at once would reset them.
 */
export async function revertCapture(target: CaptureTarget, options: RevertOptions): Promise<void> {
  await disarmReverter(target);
  await takeBack(target, options);
}

async function takeBack(target: CaptureTarget, options: RevertOptions): Promise<void> {
  const record = await readCaptureRecord(target.recordPath);
  if (record === undefined) return;
  const guard = options.guard === "keep" ? record.guard : "absent";
  if (record.capture !== "absent") {
    await put(target, { plan: record.plan, capture: "drained", guard }, { isPending: false });
    await waitUntilIdle(target, record.plan.listenerPorts, options.drainTimeoutMs);
  }
  await put(target, { plan: record.plan, capture: "absent", guard }, { isPending: false });
  if (guard === "absent") await removeCaptureRecord(target.recordPath);
}

/** What is in force, as recorded; undefined where nothing is. */
export function readCaptureStatus(target: CaptureTarget): Promise<CaptureRecord | undefined> {
  return readCaptureRecord(target.recordPath);
}

/** One difference between what was applied and what the host has. */
export interface CaptureDrift {
  readonly kind: "rules" | "route" | "address";
  readonly message: string;
}

/** What became of our rules since: a reload of the host's firewall takes them away silently. Apply again to mend it. */
export async function verifyCapture(target: CaptureTarget): Promise<CaptureDrift[]> {
  const record = await readCaptureRecord(target.recordPath);
  if (record === undefined) return [];
  const { runner } = target;
  const drifts: CaptureDrift[] = [];
  if ((await fingerprintRules(runner, record.backend)) !== record.fingerprint) {
    drifts.push({ kind: "rules", message: "the rules on this host are not the ones that were applied" });
  }
  if (record.capture === "absent") return drifts;
  const facts = await readHostFacts(runner, record.backend);
  for (const cidr of record.plan.vipRanges.filter((range) => facts.hasIpv6 || !range.includes(":"))) {
    if (!(await hasRoute(runner, cidr))) drifts.push({ kind: "route", message: `no route covers ${cidr}` });
  }
  for (const address of facts.hasIpv6 ? record.plan.loopbackAddresses : []) {
    if (!(await hasLoopbackAddress(runner, address))) drifts.push({ kind: "address", message: `${address} is not on the loopback device` });
  }
  return drifts;
}

async function isConfirmed({ confirm, timeoutMs }: ConfirmOptions): Promise<boolean> {
  const timer = new AbortController();
  const expiry = sleep(timeoutMs, false, { signal: timer.signal }).catch(() => false);
  try {
    return await Promise.race([confirm().catch(() => false), expiry]);
  } finally {
    timer.abort();
  }
}

/** The reverter stays behind it until all is done. */
async function goBack(target: CaptureTarget, { drainTimeoutMs }: { readonly drainTimeoutMs: number }): Promise<void> {
  await claimReturn(target, drainTimeoutMs + RETURN_GRACE_MS);
  const record = await readCaptureRecord(target.recordPath);
  const back = async (): Promise<void> => {
    if (record?.confirmed === undefined) await takeBack(target, { guard: "remove", drainTimeoutMs });
    else await put(target, { plan: record.confirmed, capture: "active", guard: "active" }, { isPending: false });
  };
  await back();
  if (record === undefined || (await disarmReverter(target)) !== "acted") return;
  // It took this process for dead, and was stopped in the middle of the same work.
  await writeCaptureRecord(target.recordPath, record);
  await back();
}

/** The same way back as {@link goBack}'s, for the process that may have to go it alone, from wherever this one was killed. */
async function revertPhases(target: CaptureTarget, pending: CaptureRecord, { drainTimeoutMs }: ConfirmOptions): Promise<RevertPhase[]> {
  const facts = await readHostFacts(target.runner, target.backend);
  const stepsFrom = (states: readonly WantedCapture[], to: WantedCapture): CaptureStep[] => {
    const iptables: IptablesStates = new Map([...facts.iptables].map(([family, present]) => [family, [...states.map((from) => expectedIptables(from, family)), present]]));
    return captureSteps(target.backend, iptables, to, pending.owned, pending.xtablesBefore);
  };
  const recordOf = (wanted: WantedCapture): CaptureRecord => ({ ...pending, ...wanted, isPending: false, fingerprint: undefined });
  if (pending.confirmed !== undefined) {
    const back: WantedCapture = { plan: pending.confirmed, capture: "active", guard: "active" };
    return [{ steps: stepsFrom([pending, back], back), record: recordOf(back) }];
  }
  const drained: WantedCapture = { plan: pending.plan, capture: "drained", guard: "absent" };
  return [
    { steps: stepsFrom([pending, drained], drained), record: recordOf(drained), thenWaitMs: drainTimeoutMs },
    { steps: stepsFrom([drained], { ...drained, capture: "absent" }) },
  ];
}

async function put(target: CaptureTarget, wanted: WantedCapture, { isPending }: { readonly isPending: boolean }): Promise<void> {
  const before = await readCaptureRecord(target.recordPath);
  const record = await draftRecord(target, before, wanted, { isPending });
  await writeCaptureRecord(target.recordPath, record);
  try {
    await enforce(target, record);
  } catch (failure) {
    if (wanted.capture === "active") await undo(target, before, record, failure);
    throw failure;
  }
  if (record.replaced !== undefined) await removeReplaced(target, record.replaced);
}

/** A change that failed half way leaves what was there. */
async function undo(target: CaptureTarget, before: CaptureRecord | undefined, failed: CaptureRecord, cause: unknown): Promise<void> {
  // Of nft's one transaction nothing is in force; iptables has one for each table and family.
  const isUntouched = target.backend === "nft" && before?.backend === "nft";
  const previous: CaptureRecord = { ...(before ?? { ...failed, capture: "absent", guard: "absent" }), owned: failed.owned };
  await writeCaptureRecord(target.recordPath, previous);
  if (isUntouched) return;
  try {
    if (previous.backend !== target.backend) return await removeRules(target.runner, failed);
    await enforce(target, previous);
    if (before === undefined) await removeCaptureRecord(target.recordPath);
  } catch (failure) {
    throw new CodedError("MESH_CAPTURE_RESTORE_FAILED", `what is in force is between the new capture rules and the old ones: ${messageOf(cause)}`, {
      cause: new AggregateError([cause, failure]),
      hint: `mend the cause and apply again${cause instanceof CodedError && cause.hint !== undefined ? `: ${cause.hint}` : ""}`,
    });
  }
}

async function enforce(target: CaptureTarget, record: CaptureRecord): Promise<void> {
  const facts = await readHostFacts(target.runner, target.backend);
  await runSteps(target.runner, captureSteps(target.backend, presentStates(facts), record, record.owned, record.xtablesBefore));
  await writeCaptureRecord(target.recordPath, { ...record, fingerprint: await fingerprintRules(target.runner, target.backend) });
}

function presentStates({ iptables }: HostFacts): IptablesStates {
  return new Map([...iptables].map(([family, present]) => [family, [present]]));
}

/** The record of a change about to be made: what we own grows by what the host lacks for the new plan. */
async function draftRecord(target: CaptureTarget, before: CaptureRecord | undefined, wanted: WantedCapture, { isPending }: { readonly isPending: boolean }): Promise<CaptureRecord> {
  const facts = await readHostFacts(target.runner, target.backend);
  const owned = wanted.capture === "absent" ? (before?.owned ?? { routes: [], addresses: [] }) : await ownedFor(target.runner, facts, wanted.plan, before?.owned);
  const knowsXtables = before?.backend === target.backend;
  const replaced = before === undefined || knowsXtables ? before?.replaced : { backend: before.backend, xtablesBefore: before.xtablesBefore };
  const confirmed = isPending || wanted.capture !== "active" ? before?.confirmed : wanted.plan;
  return {
    version: 1,
    backend: target.backend,
    plan: wanted.plan,
    capture: wanted.capture,
    guard: wanted.guard,
    owned,
    xtablesBefore: knowsXtables ? before.xtablesBefore : target.backend === "iptables" ? await listXtables(target.runner, facts.iptables) : [],
    ...(replaced === undefined ? {} : { replaced }),
    ...(confirmed === undefined ? {} : { confirmed }),
    isPending,
  };
}

async function ownedFor(runner: CommandRunner, facts: HostFacts, plan: CapturePlan, before: OwnedPieces = { routes: [], addresses: [] }): Promise<OwnedPieces> {
  const isUsable = (address: string): boolean => facts.hasIpv6 || !address.includes(":");
  const routes = new Set(before.routes);
  for (const cidr of plan.vipRanges.filter(isUsable)) {
    if (!routes.has(cidr) && !(await hasRoute(runner, cidr))) routes.add(cidr);
  }
  const addresses = new Set(before.addresses);
  for (const address of plan.loopbackAddresses.filter(isUsable)) {
    if (!addresses.has(address) && !(await hasLoopbackAddress(runner, address))) addresses.add(address);
  }
  return { routes: [...routes], addresses: [...addresses] };
}

/** Every rule that we have in one back end. */
async function removeRules(runner: CommandRunner, { backend, xtablesBefore }: Pick<CaptureRecord, "backend" | "xtablesBefore">): Promise<void> {
  const facts = await readHostFacts(runner, backend);
  const nothing: WantedCapture = { plan: EMPTY_PLAN, capture: "absent", guard: "absent" };
  await runSteps(runner, captureSteps(backend, presentStates(facts), nothing, { routes: [], addresses: [] }, xtablesBefore));
}

async function removeReplaced(target: CaptureTarget, replaced: NonNullable<CaptureRecord["replaced"]>): Promise<void> {
  await removeRules(target.runner, replaced);
  const record = await readCaptureRecord(target.recordPath);
  if (record !== undefined) await writeCaptureRecord(target.recordPath, { ...record, replaced: undefined });
}

async function waitUntilIdle(target: CaptureTarget, ports: readonly number[], timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (performance.now() < deadline && (await countConnections(target.runner, ports)) > 0) await sleep(DRAIN_POLL_MS);
}

async function runSteps(runner: CommandRunner, steps: readonly CaptureStep[]): Promise<void> {
  for (const step of steps) await runStep(runner, step);
}

async function runStep(runner: CommandRunner, step: CaptureStep): Promise<void> {
  const { command, args, inputs = [""] } = step;
  if (step.onlyIfUnused && !(await isUnused(runner, step.onlyIfUnused))) return;
  let stderr = "";
  let code = 0;
  for (const input of inputs) {
    const result = await runner.run(command, args, input);
    if (result.code === 0) return;
    // What the tool said to the input for the state that the host is in, not to one for another state.
    if (code === 0) ({ code, stderr } = result);
  }
  if (step.mayFail === true) return;
  stderr = stderr.trim();
  throw new CodedError("MESH_CAPTURE_COMMAND_FAILED", `${command} ${args.join(" ")} failed: ${stderr.split("\n")[0] ?? ""}`, {
    facts: { command, args, code, stderr },
    hint: hintFor(stderr, inputs.join("")),
  });
}

async function isUnused(runner: CommandRunner, { saveCommand, table }: NonNullable<CaptureStep["onlyIfUnused"]>): Promise<boolean> {
  const { code, stdout } = await runner.run(saveCommand, ["-t", table]);
  return code === 0 && stdout.split("\n").every((line) => unusedTableLine(table).test(line));
}

function hintFor(stderr: string, input: string): string {
  if (/not permitted|permission denied/i.test(stderr)) return "the agent needs CAP_NET_ADMIN";
  if (input.includes("cgroup")) return "perhaps a workload's cgroup does not exist now: rules name it when they are loaded, so bind a slice that lives as long as the host";
  return "the kernel may lack a module for this rule; see the command's own words";
}
