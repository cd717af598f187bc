import { execFile, spawn } from "node:child_process";

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
      return new Promise((resolve) => {
        const child = execFile(...argv(command, args), { maxBuffer: MAX_OUTPUT_BYTES, env: { ...process.env, LC_ALL: "C" } }, (error, stdout, stderr) => {
          if (error === null) resolve({ code: 0, stdout, stderr });
          else if (error.code === "ENOENT") resolve({ code: 127, stdout, stderr: `${command}: not found` });
          else resolve({ code: typeof error.code === "number" ? error.code : 255, stdout, stderr: stderr || error.message });
        });
        // A command that ends without reading its input is judged by its exit code.
        child.stdin?.on("error", () => {});
        child.stdin?.end(input);
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
