import { join } from "node:path";
import { type Command } from "commander";
import { CodedError } from "../../base/coded-error.ts";
import { parseConfigFile } from "../../base/config-file.ts";
import type { CliContext } from "../context.ts";
import { readConfig } from "../read-config.ts";
import { untilStopped } from "../until-stopped.ts";

/** `ironmesh dns`: what ironmesh-dns.service runs while there is no agent. */
export function addDns(program: Command, context: CliContext): void {
  program
    .command("dns")
    .description("answer names in place of the agent of this host, while it does not run")
    .requiredOption("-c, --config <file>", "the agent's configuration file")
    .option("--names <folder>", "where the agent keeps names apart; `names` in its stateDir unless told")
    .addHelpText("after", "\nSystemd starts it (ironmesh-dns.socket) when a name is asked for and there is no agent.\n\nExample:\n  ironmesh dns --config /etc/ironmesh/agent.yaml")
    .action(async ({ config: file, names }: { config: string; names?: string }) => {
      const [{ startDnsStandby }, { NAMES_FOLDER }, { AGENT_CONFIG_FILE }] = await Promise.all([import("../../agent/dns/standby.ts"), import("../../agent/dns/names-on-disk.ts"), import("../../agent/config.ts")]);
      const logger = context.logger("info");
      // The agent may be away because of this very file: names are answered by the defaults then.
      const read = await readConfig(AGENT_CONFIG_FILE, file, context).catch((failure: unknown) => {
        if (failure instanceof CodedError) return undefined;
        throw failure;
      });
      const fallback = parseConfigFile(AGENT_CONFIG_FILE, "controlPlane: {address: localhost}", "defaults");
      const config = read ?? (fallback.ok ? fallback.value : undefined);
      if (config === undefined) return;
      if (read === undefined) logger.error({ file }, "the configuration cannot be read: its defaults are used");
      context.setExitCode(0);
      const standby = await startDnsStandby({ config, namesFolder: names ?? join(config.stateDir, NAMES_FOLDER), environment: process.env, logger });
      await untilStopped(logger);
      await standby.close();
    });
}
