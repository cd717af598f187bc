import { readFile } from "node:fs/promises";
import { type Command } from "commander";
import { CodedError } from "../../base/coded-error.ts";
import { formatIssue } from "../../base/issue.ts";
import type { CliContext } from "../context.ts";
import { untilStopped } from "../until-stopped.ts";
import { version } from "../version.ts";

/** `ironmesh agent`: runs on every host until it is told to stop. */
export function addAgent(program: Command, context: CliContext): void {
  program
    .command("agent")
    .description("run the agent of this host: identity, Envoy, captured traffic, DNS")
    .requiredOption("-c, --config <file>", "configuration file")
    .addHelpText(
      "after",
      "\nSIGTERM ends the agent alone: Envoy serves on, and the next agent adopts it.\nSIGUSR2 makes the host leave: rules are removed, Envoy drains, the mesh is told.\n\nExample:\n  IRONMESH_TOKEN=… ironmesh agent --config /etc/ironmesh/agent.yaml",
    )
    .action(async (options: { config: string }) => {
      const [{ startAgent }, { parseAgentConfig }] = await Promise.all([import("../../agent/app.ts"), import("../../agent/config.ts")]);
      const text = await readFile(options.config, "utf8").catch((cause: unknown) => {
        throw new CodedError("MESH_FILE_UNREADABLE", `cannot read ${options.config}`, { cause, hint: "check the path and its permissions" });
      });
      const parsed = parseAgentConfig(text, options.config);
      if (!parsed.ok) {
        for (const issue of parsed.error) context.complain(formatIssue(issue));
        context.setExitCode(2);
        return;
      }
      const logger = context.logger(parsed.value.log.level);
      const agent = await startAgent(parsed.value, { logger, version: version() });
      if ((await untilStopped(logger)) === "leave") await agent.leave();
      else await agent.close();
    });
}
