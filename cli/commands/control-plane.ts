import { type Command } from "commander";
import type { CliContext } from "../context.ts";
import { readConfig } from "../read-config.ts";
import { untilStopped } from "../until-stopped.ts";

/** `ironmesh control-plane`: runs until it is told to stop. */
export function addControlPlane(program: Command, context: CliContext): void {
  program
    .command("control-plane")
    .description("run the control plane: catalog, configuration, certificate authority and xDS")
    .requiredOption("-c, --config <file>", "configuration file")
    .addHelpText("after", "\nExample:\n  ironmesh control-plane --config /etc/ironmesh/control-plane.yaml")
    .action(async (options: { config: string }) => {
      const [{ startControlPlane }, { CONTROL_PLANE_CONFIG_FILE }] = await Promise.all([import("../control-plane/app.ts"), import("../control-plane/config.ts")]);
      const config = await readConfig(CONTROL_PLANE_CONFIG_FILE, options.config, context);
      if (config === undefined) return;
      const logger = context.logger(config.log.level);
      const controlPlane = await startControlPlane(config, logger);
      logger.info({ agents: controlPlane.agentAddresses, metricsPort: controlPlane.metricsPort, api: config.listen.apiSocket }, "the control plane serves");
      await untilStopped(logger);
      await controlPlane.close();
    });
}
