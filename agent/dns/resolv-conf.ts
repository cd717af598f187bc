import { readFile, stat } from "node:fs/promises";

import type { HostPort } from "../config.ts";

/** What the host's resolver is told (resolv.conf(5)). */
export interface ResolvConf {
  readonly nameservers: readonly string[];
  readonly searchDomains: readonly string[];
}

export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = [];
  let searchDomains: readonly string[] = [];
  for (const line of text.split("\n")) {
    const [keyword, ...values] = line.replace(/[#;].*$/, "").trim().split(/\s+/);
    if (keyword === "nameserver" && values[0] !== undefined) nameservers.push(values[0]);
    // The last of `search` and `domain` counts.
    if (keyword === "search" || keyword === "domain") searchDomains = values.filter((value) => value !== ".");
  }
  return { nameservers, searchDomains };
}

/** The stub of systemd-resolved: it may ask us, so that asking it could go round in circles. */
const RESOLVED_STUBS = new Set(["127.0.0.53", "127.0.0.54"]);

export interface HostResolversOptions {
  readonly configured?: readonly HostPort[] | undefined;
  readonly path?: string;
  /** The servers that systemd-resolved itself asks. */
  readonly resolvedPath?: string;
  /** Our own listener, never to be asked. */
  readonly isOwn: (server: HostPort) => boolean;
}

/** Who answers for every name that is not the mesh's, as the host is configured now. */
export interface HostResolvers {
  /** Files are looked at again when they have changed, at most once a second. */
  current(nowMs: number): Promise<{ readonly upstreams: readonly HostPort[]; readonly searchDomains: readonly string[] }>;
}

const LOOK_EVERY_MS = 1_000;

export function watchHostResolvers(options: HostResolversOptions): HostResolvers {
  const { configured, path = "/etc/resolv.conf", resolvedPath = "/run/systemd/resolve/resolv.conf", isOwn } = options;
  let reading = Promise.resolve();
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  let seen = "";
  let upstreams: readonly HostPort[] = configured ?? [];
  let searchDomains: readonly string[] = [];

  const read = async (): Promise<void> => {
    const stamp = `${await stampOf(path)} ${await stampOf(resolvedPath)}`;
    if (stamp === seen) return;
    const host = parseResolvConf(await readFile(path, "utf8").catch(() => ""));
    const usesStub = host.nameservers.some((server) => RESOLVED_STUBS.has(server));
    const behindStub = usesStub ? parseResolvConf(await readFile(resolvedPath, "utf8").catch(() => "")) : undefined;
    const servers = behindStub !== undefined && behindStub.nameservers.length > 0 ? behindStub.nameservers : host.nameservers;
    if (configured === undefined) upstreams = servers.map((server) => ({ host: server, port: 53 })).filter((server) => !isOwn(server));
    searchDomains = host.searchDomains;
    seen = stamp;
  };
  return {
    async current(nowMs) {
      if (Math.abs(nowMs - lookedAtMs) >= LOOK_EVERY_MS) {
        lookedAtMs = nowMs;
        reading = read();
      }
      // Also for who comes while another one looks: at first nothing is known.
      await reading;
      return { upstreams, searchDomains };
    },
  };
}

async function stampOf(path: string): Promise<string> {
  try {
    const { mtimeMs, ino, size } = await stat(path);
    return `${mtimeMs}/${ino}/${size}`;
  } catch {
    return "none";
  }
}
