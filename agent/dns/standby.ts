import { systemClock } from "../../base/clock.ts";
import { messageOf } from "../../base/coded-error.ts";
import type { Logger } from "../../base/logger.ts";
import type { AgentConfig } from "../config.ts";
import { startHostDns } from "./host-server.ts";
import type { NameTable } from "./name-table.ts";
import { readNames } from "./names-on-disk.ts";
import type { DnsServer } from "./server.ts";

export interface StandbyOptions {
  readonly config: Pick<AgentConfig, "dns">;
  /** Where the agent keeps names apart. */
  readonly namesFolder: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly logger: Logger;
}

/**
 * Answers names in the agent's place while there is none: those of the mesh as
 * the agent last had them on disk, every other one by the host's own resolvers.
 * Where the disk says nothing, the others are answered all the same.
 */
export async function startDnsStandby({ config, namesFolder, environment, logger }: StandbyOptions): Promise<DnsServer> {
  let table: NameTable | undefined;
  try {
    table = await readNames(namesFolder);
  } catch (failure) {
    logger.error({ reason: messageOf(failure) }, "the names of the mesh cannot be read; all others are answered");
  }
  logger.info({ names: table?.entries.size ?? 0 }, "answering names while there is no agent");
  return startHostDns({ config, table, environment, clock: systemClock, logger });
}
