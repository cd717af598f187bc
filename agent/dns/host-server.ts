import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { parseHostPort } from "../config.ts";
import type { AgentConfig, HostPort } from "../config.ts";
import type { NameTable } from "./name-table.ts";
import { describeSockets, passedDescriptors } from "./passed-sockets.ts";
import { watchHostResolvers } from "./resolv-conf.ts";
import { startDnsServer } from "./server.ts";
import type { DnsServer } from "./server.ts";

const ADDRESSES = ["127.0.0.1", "::1"];

export interface HostDnsOptions {
  readonly config: Pick<AgentConfig, "dns">;
  /** What is known of names from the start. */
  readonly table: NameTable | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The host's one DNS server, on the sockets that systemd keeps for it where there are some. */
export async function startHostDns({ config, table, environment, clock, logger }: HostDnsOptions): Promise<DnsServer> {
  const { port } = config.dns;
  const configured = config.dns.upstreams?.flatMap((text): readonly HostPort[] => {
    const server = parseHostPort(text, 53);
    return server === undefined ? [] : [server];
  });
  const { descriptors, problems } = passedDescriptors(environment, process.pid);
  const described = await describeSockets(descriptors);
  return startDnsServer({
    addresses: ADDRESSES,
    port,
    passed: { sockets: described.sockets, problems: [...problems, ...described.problems] },
    ...(table === undefined ? {} : { table }),
    resolvers: watchHostResolvers({ configured, isOwn: (server) => ADDRESSES.includes(server.host) && server.port === port }),
    clock,
    logger,
  });
}
