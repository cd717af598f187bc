import { Command } from "commander";
import { CONTROL_PLANE_DEFAULTS } from "./control-plane/config.ts";
import type { CliContext } from "./context.ts";
import { addAgent } from "./commands/agent.ts";
import { addApply, addDelete } from "./commands/apply.ts";
import { addCompletion } from "./commands/completion.ts";
import { addControlPlane } from "./commands/control-plane.ts";
import { addDescribe } from "./commands/describe.ts";
import { addDns } from "./commands/dns.ts";
import { addGet } from "./commands/get.ts";
import { addHost } from "./commands/host.ts";
import { addImport } from "./commands/import.ts";
import { addProxyConfig, addProxyStatus } from "./commands/proxy.ts";
import { addToken } from "./commands/token.ts";
import { addTranslate } from "./commands/translate.ts";
import { version } from "./version.ts";

/**
 * All commands, in the order in which help lists them. What a command alone
 * needs it imports when it runs: asking the control plane must not take the
 * time of loading one.
 */
const COMMANDS = [
  addControlPlane,
  addAgent,
  addDns,
  addToken,
  addHost,
  addGet,
  addDescribe,
  addApply,
  addDelete,
  addProxyStatus,
  addProxyConfig,
  addTranslate,
  addImport,
  addCompletion,
] as const;

/** The command line, ready to parse. */
export function buildProgram(context: CliContext): Command {
  const program = new Command("ironmesh")
    .description("A service mesh for virtual machines and bare metal")
    .version(version())
    .option("--api <socket>", "socket of the control plane's API (or IRONMESH_API)", process.env["IRONMESH_API"] ?? CONTROL_PLANE_DEFAULTS.apiSocket)
    .showHelpAfterError("(`ironmesh help COMMAND` explains each command)")
    .showSuggestionAfterError();
  for (const add of COMMANDS) add(program, context);
  return program;
}
