import { pino } from "pino";
import { CodedError } from "../base/coded-error.ts";
import { foreignLines } from "../base/foreign-text.ts";
import { apiClient } from "./api-client.ts";
import type { CliContext } from "./context.ts";
import { buildProgram } from "./program.ts";
import { renderFailure } from "./terminal/failure.ts";

/** The context of a real process. */
function processContext(): CliContext {
  return {
    api: () => apiClient(program.opts<{ api: string }>().api),
    print: (text) => void process.stdout.write(`${text}\n`),
    complain: (text) => void process.stderr.write(`${foreignLines(text)}\n`),
    async readInput() {
      const chunks: Buffer[] = [];
      for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks).toString("utf8");
    },
    setExitCode(code) {
      process.exitCode = code;
    },
    logger: (level) => pino({ level, base: null }, pino.destination(2)),
  };
}

// Only commands that list write there: a reader that has seen enough (`| head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});

const program = buildProgram(processContext());
try {
  await program.parseAsync();
} catch (failure) {
  // A bug keeps its stack.
  if (!(failure instanceof CodedError)) throw failure;
  process.stderr.write(`${renderFailure(failure)}\n`);
  process.exitCode = 1;
}
