import { type Command } from "commander";
import type { CliContext } from "../context.ts";
import { readConfig } from "../read-config.ts";
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
      const [{ startAgent }, { AGENT_CONFIG_FILE }] = await Promise.all([import("../../agent/app.ts"), import("../../agent/config.ts")]);
      const config = await readConfig(AGENT_CONFIG_FILE, options.config, context);
      if (config === undefined) return;
      const logger = context.logger(config.log.level);
      const agent = await startAgent(config, { logger, version: version() });
      if ((await untilStopped(logger)) === "leave") await agent.leave();
      else await agent.close();
    });
}
