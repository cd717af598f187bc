import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CodedError } from "../../base/coded-error.ts";
import type { CaptureRecord } from "./capture-record.ts";
import { captureRecordText } from "./capture-record.ts";
import type { CaptureStep } from "./capture-steps.ts";
import type { CommandRunner } from "./command-runner.ts";
import { unusedTableLine } from "./iptables-ruleset.ts";

/**
 * A process of its own that takes rules back which nobody confirmed: it does
 * not need the agent alive. `systemd` where systemd runs the agent (a service's
 * children die with it), else `process`.
 */
export type ReverterKind = "process" | "systemd";

export interface ReverterOptions {
  readonly runner: CommandRunner;
  readonly reverter: ReverterKind;
  /** The record of what is applied; the reverter's folder lies beside it. */
  readonly recordPath: string;
}

/** One part of what the reverter does, in order. */
export interface RevertPhase {
  readonly steps: readonly CaptureStep[];
  /** What is applied while it waits and afterwards; absent when nothing is left. */
  readonly record?: CaptureRecord;
  /** Waited after the steps: captured connections end by themselves. */
  readonly thenWaitMs?: number;
}

const UNIT = "ironmesh-capture-reverter";

function folderOf(recordPath: string): string {
  return join(dirname(recordPath), "capture-reverter");
}

export interface CountdownOptions {
  readonly delayMs: number;
  /** How long the agent may then take to go back by itself, counted from the end of the countdown. */
  readonly returnMs: number;
}

/**
 * Starts the countdown. Whoever renames the file `pending` first owns the
 * outcome: the reverter, which makes it `reverting`, or the agent. The agent
 * makes it `returning` while it goes back by itself: should it die on the way,
 * the reverter takes over, so that there is never nobody.
 */
export async function armReverter(options: ReverterOptions, phases: readonly RevertPhase[], { delayMs, returnMs }: CountdownOptions): Promise<void> {
  const { runner, reverter, recordPath } = options;
  const folder = folderOf(recordPath);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const script = join(folder, "revert.sh");
  const files = new Map<string, string>();
  const lines = phases.flatMap((phase, index) => phaseLines(phase, `${index}`, recordPath, files));
  for (const [name, content] of files) await writeFile(join(folder, name), content, { mode: 0o600 });
  await writeFile(script, [...prologue(folder, returnMs), ...lines, "rm -f reverting", ""].join("\n"), { mode: 0o700 });
  await writeFile(join(folder, "pending"), "", { mode: 0o600 });
  const seconds = (delayMs / 1000).toFixed(1);
  if (reverter === "systemd") {
    const timer = ["--unit", UNIT, "--collect", "--on-active", `${seconds}s`, "--timer-property", "AccuracySec=100ms"];
    const { code, stderr } = await runner.run("systemd-run", [...timer, "/bin/sh", script, "0"]);
    if (code === 0) return;
    throw new CodedError("MESH_CAPTURE_NO_REVERTER", `the timer that takes unconfirmed rules back could not be started: ${stderr.trim()}`, {
      hint: "nothing was changed; the agent needs the right to start transient units",
    });
  }
  const pid = runner.startDetached("/bin/sh", [script, seconds]);
  await writeFile(join(folder, "pid"), String(pid), { mode: 0o600 });
}

/** Ends a reverter that has not begun, for rules that are confirmed. False, and nothing done, where it has begun or there is none. */
export async function confirmReverter(options: ReverterOptions): Promise<boolean> {
  const folder = folderOf(options.recordPath);
  if (!(await renameIfPresent(join(folder, "pending"), join(folder, "disarmed")))) return false;
  await disarmReverter(options);
  return true;
}

/**
 * The agent goes back by itself now, and ends with {@link disarmReverter}. One
 * that has begun is waited for, `limitMs` at most: cut off half way it would
 * leave a state that nothing describes.
 */
export async function claimReturn({ reverter, recordPath }: ReverterOptions, limitMs: number): Promise<void> {
  const folder = folderOf(recordPath);
  if (await renameIfPresent(join(folder, "pending"), join(folder, "returning"))) return;
  const deadline = performance.now() + limitMs;
  while (existsSync(join(folder, "reverting")) && performance.now() < deadline) {
    if (reverter === "process" && (await countdownPid(folder)) === undefined) return;
    await sleep(50);
  }
}

/** `disarmed`: it will not act. `acted`: it had begun, and was stopped; what it left undone must be finished. `absent`: there was none. */
export type DisarmOutcome = "disarmed" | "acted" | "absent";

export async function disarmReverter({ runner, reverter, recordPath }: ReverterOptions): Promise<DisarmOutcome> {
  const folder = folderOf(recordPath);
  let isOurs = false;
  for (const state of ["pending", "returning", "disarmed"]) isOurs ||= await renameIfPresent(join(folder, state), join(folder, "disarmed"));
  if (reverter === "systemd") await runner.run("systemctl", ["stop", `${UNIT}.timer`, `${UNIT}.service`]);
  else await endProcess(folder);
  const hasActed = !isOurs && (await renameIfPresent(join(folder, "reverting"), join(folder, "disarmed")));
  await rm(folder, { recursive: true, force: true });
  return isOurs ? "disarmed" : hasActed ? "acted" : "absent";
}

async function renameIfPresent(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (failure) {
    if ((failure as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw failure;
  }
}

/** The countdown's process, if the number still belongs to it. */
async function countdownPid(folder: string): Promise<number | undefined> {
  const pid = Number(await readFile(join(folder, "pid"), "utf8").catch(() => "0"));
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  return commandLine.includes(join(folder, "revert.sh")) ? pid : undefined;
}

/** Ends the countdown and what it runs. */
async function endProcess(folder: string): Promise<void> {
  const pid = await countdownPid(folder);
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    return;
  }
  // Its last command must not run into ours.
  while ((await countdownPid(folder)) !== undefined) await sleep(5);
}

function prologue(folder: string, returnMs: number): string[] {
  return [
    "#!/bin/sh",
    "# Takes back capture rules that nobody confirmed in time.",
    `cd ${quote(folder)} || exit 1`,
    'sleep "$1"',
    "if ! mv pending reverting 2>/dev/null; then",
    "  # Confirmed; or the agent goes back by itself, unless it dies on the way.",
    "  [ -e returning ] || exit 0",
    `  sleep ${(returnMs / 1000).toFixed(1)}`,
    "  mv returning reverting 2>/dev/null || exit 0",
    "fi",
  ];
}

function phaseLines(phase: RevertPhase, name: string, recordPath: string, files: Map<string, string>): string[] {
  const lines = phase.steps.map((step, index) => stepLine(step, `step-${name}-${index}`, files));
  if (phase.record === undefined) lines.push(`rm -f ${quote(recordPath)}`);
  else {
    files.set(`record-${name}`, captureRecordText(phase.record));
    // In the record's own folder first, so that the rename is atomic.
    lines.push(`cp record-${name} ${quote(`${recordPath}.reverted`)} && mv -f ${quote(`${recordPath}.reverted`)} ${quote(recordPath)}`);
  }
  if (phase.thenWaitMs !== undefined) lines.push(`sleep ${(phase.thenWaitMs / 1000).toFixed(1)}`);
  return lines;
}

/** A step as a line of sh. A failing one does not keep the next from running: a half reverted host is worse. */
function stepLine(step: CaptureStep, name: string, files: Map<string, string>): string {
  const command = [step.command, ...step.args].map(quote).join(" ");
  if (step.inputs === undefined) return command;
  const attempts = step.inputs.map((content, index) => {
    files.set(`${name}-${index}`, content);
    return `${command} < ${name}-${index}`;
  });
  if (step.onlyIfUnused) {
    const { saveCommand, table } = step.onlyIfUnused;
    return `saved="$(${saveCommand} -t ${table} 2>/dev/null)" && ! printf '%s\\n' "$saved" | grep -Eqv ${quote(unusedTableLine(table).source)} && ${attempts.join(" || ")}`;
  }
  // Another program may hold the tables for a moment, and nobody is left to try again later.
  return `for attempt in 1 2 3 4 5 6 7 8 9 10; do { ${attempts.join(" || ")}; } && break; sleep 0.5; done`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
