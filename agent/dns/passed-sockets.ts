import { readFile, readlink } from "node:fs/promises";

import { addressOf } from "../ownership/listening-sockets.ts";

/** A listening socket that was open before this process (sd_listen_fds(3)): systemd keeps it, and what waits in it, when the process ends. */
export interface PassedSocket {
  readonly descriptor: number;
  readonly transport: "udp" | "tcp";
  readonly address: string;
  readonly port: number;
}

export interface PassedSockets {
  readonly sockets: readonly PassedSocket[];
  /** What was passed and cannot be used, and why, a line each. */
  readonly problems: readonly string[];
}

/** SD_LISTEN_FDS_START. */
const FIRST = 3;
/** A unit that passes more is not about us. */
const MOST = 64;

/**
 * The descriptors that systemd passed to this very process: another's variables,
 * inherited by chance, say nothing. What cannot be understood is a problem, never
 * a failure: names are answered without it too.
 */
export function passedDescriptors(environment: Readonly<Record<string, string | undefined>>, pid: number): { readonly descriptors: readonly number[]; readonly problems: readonly string[] } {
  const { LISTEN_PID: forWhom, LISTEN_FDS: howMany } = environment;
  if (forWhom !== String(pid) || howMany === undefined) return { descriptors: [], problems: [] };
  const count = /^\d{1,3}$/.test(howMany) ? Number(howMany) : Number.NaN;
  if (!(count <= MOST)) return { descriptors: [], problems: [`LISTEN_FDS is ${JSON.stringify(howMany.slice(0, 40))}: it must be a number up to ${MOST}; the sockets are not used`] };
  return { descriptors: Array.from({ length: count }, (_, index) => FIRST + index), problems: [] };
}

/** Says what each of this process's descriptors is, by the kernel's own tables. */
export async function describeSockets(descriptors: readonly number[], proc = "/proc/self"): Promise<PassedSockets> {
  const table = async (name: "udp" | "udp6" | "tcp" | "tcp6"): Promise<readonly SocketLine[]> =>
    // A kernel without IPv6 has no such file.
    parseSocketTable(await readFile(`${proc}/net/${name}`, "utf8").catch(() => ""), name.startsWith("udp") ? "udp" : "tcp");
  const known = descriptors.length === 0 ? [] : (await Promise.all((["udp", "udp6", "tcp", "tcp6"] as const).map(table))).flat();
  const sockets: PassedSocket[] = [];
  const problems: string[] = [];
  for (const descriptor of descriptors) {
    const inode = /^socket:\[(\d+)\]$/.exec(await readlink(`${proc}/fd/${descriptor}`).catch(() => ""))?.[1];
    const found = known.find((line) => line.inode === inode);
    if (found === undefined) problems.push(`descriptor ${descriptor} is no socket that listens by UDP or TCP`);
    else sockets.push({ descriptor, transport: found.transport, address: found.address, port: found.port });
  }
  return { sockets, problems };
}

/** The passed sockets at these places, by `transport address`; every other one is a problem that names the remedy. */
export function socketsAt(passed: PassedSockets, addresses: readonly string[], port: number): { readonly at: ReadonlyMap<string, number>; readonly problems: readonly string[] } {
  const at = new Map<string, number>();
  const problems = [...passed.problems];
  for (const { descriptor, transport, address, port: number } of passed.sockets) {
    const place = `${transport} ${address}`;
    if (number === port && addresses.includes(address) && !at.has(place)) at.set(place, descriptor);
    else problems.push(`the socket ${place} port ${number} is not one of dns.port ${port} on ${addresses.join(", ")}: write the same port into agent.yaml and, by systemctl edit, into ironmesh-dns.socket`);
  }
  return { at, problems };
}

interface SocketLine {
  readonly transport: "udp" | "tcp";
  readonly address: string;
  readonly port: number;
  readonly inode: string;
}

const TCP_LISTEN = "0A";

/** /proc/net/{udp,tcp}[6]; of TCP only what listens. A line that is none is left out. */
export function parseSocketTable(text: string, transport: "udp" | "tcp"): readonly SocketLine[] {
  return text.split("\n").flatMap((line): SocketLine[] => {
    const [, local = "", , state, , , , , , inode] = line.trim().split(/\s+/);
    const [, hex = "", port = ""] = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(local) ?? [];
    if (hex === "" || inode === undefined || (transport === "tcp" && state !== TCP_LISTEN)) return [];
    return [{ transport, address: addressOf(hex), port: Number.parseInt(port, 16), inode }];
  });
}
