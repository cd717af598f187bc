import { silentLogger } from "../../base/logger.ts";
import { apiClient } from "../../cli/api-client.ts";
import { buildProgram } from "../../cli/program.ts";

/**
 * Runs a command of the command line in this process, against the control
 * plane behind the socket, and gives what it prints to standard output. Throws
 * what the command throws.
 */
export async function runIronmesh(apiSocket: string, args: readonly string[]): Promise<string> {
  const printed: string[] = [];
  const program = buildProgram({
    api: () => apiClient(apiSocket),
    print: (text) => void printed.push(text),
    complain: () => {},
    readInput: async () => "",
    setExitCode: () => {},
    logger: () => silentLogger,
  });
  await program.exitOverride().parseAsync(args, { from: "user" });
  return printed.join("\n");
}
