import { applyCaptureWithConfirm } from "../../agent/interception/apply.ts";
import { createCommandRunner } from "../../agent/interception/command-runner.ts";
import type { CommandRunner } from "../../agent/interception/command-runner.ts";
import type { Backend } from "../../agent/interception/host-facts.ts";
import type { CapturePlan } from "../../agent/interception/plan.ts";

/** What the agent does when it is killed: put the plan in force, wait for the confirmation, go back since there is none. */
export type CapturePhase = "apply" | "confirm" | "return";

/** The arguments of this program: an agent that kills itself by SIGKILL at a moment that a test chooses. */
export interface CaptureAgentArguments {
  readonly prefix: readonly string[];
  readonly backend: Backend;
  readonly recordPath: string;
  readonly plan: CapturePlan;
  readonly timeoutMs: number;
  readonly killed: {
    readonly phase: CapturePhase;
    /** Before the first command of the phase whose line starts so; any command unless told. */
    readonly before?: string;
  };
}

const { prefix, backend, recordPath, plan, timeoutMs, killed } = JSON.parse(process.argv[2] ?? "{}") as CaptureAgentArguments;
const runner = createCommandRunner(prefix);
let phase: CapturePhase | undefined;

const die = (): boolean => process.kill(process.pid, "SIGKILL");
const mortal: CommandRunner = {
  run(command, args, input) {
    if (phase === killed.phase && [command, ...args].join(" ").startsWith(killed.before ?? "")) die();
    return runner.run(command, args, input);
  },
  startDetached(command, args) {
    // The reverter is armed: what follows changes the host.
    phase = "apply";
    return runner.startDetached(command, args);
  },
};

await applyCaptureWithConfirm({ runner: mortal, backend, reverter: "process", recordPath }, plan, {
  confirm: () => {
    if (killed.phase === "confirm") die();
    phase = "return";
    return Promise.resolve(false);
  },
  timeoutMs,
  drainTimeoutMs: 0,
  returnGraceMs: 500,
});
