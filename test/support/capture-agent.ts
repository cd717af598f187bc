import { applyCaptureWithConfirm } from "../../agent/interception/apply.ts";
import { createCommandRunner } from "../../agent/interception/command-runner.ts";
import type { Backend } from "../../agent/interception/host-facts.ts";
import type { CapturePlan } from "../../agent/interception/plan.ts";

/** The arguments of this program: an agent that says when its rules are applied, and is killed then. */
interface CaptureAgentArguments {
  readonly prefix: readonly string[];
  readonly backend: Backend;
  readonly recordPath: string;
  readonly plan: CapturePlan;
  readonly timeoutMs: number;
}

const { prefix, backend, recordPath, plan, timeoutMs } = JSON.parse(process.argv[2] ?? "{}") as CaptureAgentArguments;

await applyCaptureWithConfirm({ runner: createCommandRunner(prefix), backend, reverter: "process", recordPath }, plan, {
  confirm: () => {
    process.stdout.write("applied\n");
    // Keeps the process until it is killed, and longer than the timeout.
    return new Promise((resolve) => setTimeout(resolve, 600_000, true));
  },
  timeoutMs: Math.max(timeoutMs, 1),
  drainTimeoutMs: 0,
});
