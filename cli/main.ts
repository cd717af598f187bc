import { pino } from "pino";
import { CodedError, messageOf } from "../base/coded-error.ts";
import { apiClient } from "./api-client.ts";
import type { CliContext } from "./context.ts";
import { buildProgram } from "./program.ts";

/** The context of a real process. */
function processContext(): CliContext {
  return {
    api: () => apiClient(program.opts<{ api: string }>().api),
    print: (text) => void process.stdout.write(`${text}\n`),
    complain: (text) => void process.stderr.write(`${text}\n`),
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

const program = buildProgram(processContext());
try {
  await program.parseAsync();
} catch (failure) {
  // What an operator can mend is one line; a bug keeps its stack.
  if (!(failure instanceof CodedError)) throw failure;
  const cause = failure.cause === undefined ? "" : `: ${messageOf(failure.cause)}`;
  const hint = failure.hint === undefined ? "" : `\n  ${failure.hint}`;
  process.stderr.write(`ironmesh: ${failure.code}: ${failure.message}${cause}${hint}\n`);
  process.exitCode = 1;
}
