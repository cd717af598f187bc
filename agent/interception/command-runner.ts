import { spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface CommandResult {
  /** The exit code; 127 where the command does not exist, 255 where a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The one way out of this room to the kernel's tools; a fake of it is all that unit tests need. */
export interface CommandRunner {
  run(command: string, args: readonly string[], input?: string): Promise<CommandResult>;
  /** Starts a process that outlives this one, in its own session; gives its process id. */
  startDetached(command: string, args: readonly string[]): number;
}

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/**
 * Runs commands on this machine.
 *
 * @param prefix put before every command, such as `nsenter --net=…` for another network namespace
 */
export function createCommandRunner(prefix: readonly string[] = []): CommandRunner {
  const argv = (command: string, args: readonly string[]): [string, string[]] => {
    const [file = command, ...rest] = [...prefix, command, ...args];
    return [file, rest];
  };
  return {
    run(command, args, input = "") {
      const stdin = input === "" ? "ignore" : openInput(input);
      return new Promise<CommandResult>((resolve) => {
        const child = spawn(...argv(command, args), { stdio: [stdin, "pipe", "pipe"], env: { ...process.env, LC_ALL: "C" } });
        const output = { stdout: "", stderr: "" };
        for (const stream of ["stdout", "stderr"] as const) {
          child[stream]?.setEncoding("utf8").on("data", (text: string) => {
            output[stream] += text;
            if (output[stream].length > MAX_OUTPUT_BYTES) child.kill("SIGKILL");
          });
        }
        child.once("error", (error: NodeJS.ErrnoException) => {
          if (error.code === "ENOENT") resolve({ code: 127, stdout: "", stderr: `${command}: not found` });
          else resolve({ code: 255, stdout: "", stderr: error.message });
        });
        child.once("close", (code, signal) => resolve({ code: code ?? 255, stdout: output.stdout, stderr: output.stderr || (signal === null ? "" : `ended by ${signal}`) }));
      }).finally(() => {
        if (stdin !== "ignore") closeSync(stdin);
      });
    },
    startDetached(command, args) {
      const child = spawn(...argv(command, args), { detached: true, stdio: "ignore" });
      child.on("error", () => {});
      child.unref();
      return child.pid ?? 0;
    },
  };
}

/**
 * A file without a name that holds the text. What Node calls a pipe is a socket,
 * and nft before 1.0 opens /dev/stdin by its name, which a socket does not allow.
 */
function openInput(text: string): number {
  const folder = mkdtempSync(join(tmpdir(), "ironmesh-input-"));
  try {
    const path = join(folder, "input");
    writeFileSync(path, text, { mode: 0o600 });
    return openSync(path, "r");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
