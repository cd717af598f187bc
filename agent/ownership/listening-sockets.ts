import { open, readFile } from "node:fs/promises";
import { endianness } from "node:os";

import { canonicalAddress, familyOf } from "../../model/address.ts";

/** A TCP socket that takes connections, as the kernel lists it. */
export interface ListeningSocket {
  /** Canonical; `0.0.0.0` and `::` are every address, the latter perhaps of both families. IPv4 in IPv6 is IPv4. */
  readonly address: string;
  readonly port: number;
  /** Whose it was when it was made. */
  readonly uid: number;
  readonly inode: number;
}

/** Both tables of this process's network namespace; the second is absent where IPv6 is off. */
export const SOCKET_TABLES: readonly string[] = ["/proc/net/tcp", "/proc/net/tcp6"];

const LISTEN = "0A";
const ROW = /^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2}) \S+ \S+ \S+\s+(\d+)\s+\d+ (\d+)(?: |$)/;

/**
 * The listening sockets of one table (proc_pid_net(5)), which come before all
 * others.
 *
 * @throws Error with the row that is none
 */
export function parseListening(table: string, isLittleEndian = endianness() === "LE"): readonly ListeningSocket[] {
  const sockets: ListeningSocket[] = [];
  for (const line of table.split("\n").slice(1)) {
    if (line.trim() === "") continue;
    const [, address = "", port = "", state, uid, inode] = ROW.exec(line) ?? [];
    if (state === undefined) throw new Error(`this is no row of a socket table: ${JSON.stringify(line.slice(0, 200))}`);
    if (state !== LISTEN) break;
    sockets.push({ address: addressOf(address, isLittleEndian), port: Number.parseInt(port, 16), uid: Number(uid), inode: Number(inode) });
  }
  return sockets;
}

/**
 * Reads no further than the listening sockets: a busy host has many thousand
 * others. Where there are few, the kernel goes through all of its table to find
 * the next, some milliseconds in a large one: see {@link readSocketCounts}.
 */
export async function readListening(tables: readonly string[] = SOCKET_TABLES): Promise<readonly ListeningSocket[]> {
  const all = await Promise.all(tables.map(async (path) => parseListening(await readHead(path))));
  return all.flat();
}

/** How many TCP sockets of either family there are: nearly always other numbers where one came or went. */
export async function readSocketCounts(files: readonly string[] = ["/proc/net/sockstat", "/proc/net/sockstat6"]): Promise<string> {
  const texts = await Promise.all(files.map((path) => readFile(path, "utf8").catch((failure: NodeJS.ErrnoException) => (failure.code === "ENOENT" && path.endsWith("6") ? "" : Promise.reject(failure)))));
  // Without the memory that they take.
  return texts.flatMap((text) => text.match(/^TCP6?: .*?(?= mem |$)/gm) ?? []).join("\n");
}

/**
 * The sockets of which one takes a connection to this address and port: those
 * of the very address before those of all addresses, those of its family before
 * others (inet_lookup_listener of the kernel).
 *
 * @param address empty for a place that has no particular one: whoever has the port
 */
export function receiversOf({ address, port }: { readonly address: string; readonly port: number }, sockets: readonly ListeningSocket[]): readonly ListeningSocket[] {
  const atPort = sockets.filter((socket) => socket.port === port);
  if (address === "") return atPort;
  const wanted = canonicalAddress(address);
  const order = [wanted, ...(familyOf(wanted) === "ipv4" ? ["0.0.0.0"] : []), "::"];
  const first = order.find((one) => atPort.some((socket) => socket.address === one));
  return atPort.filter((socket) => socket.address === first);
}

/** Until a row of another state is in it, or the end. */
async function readHead(path: string): Promise<string> {
  const file = await open(path).catch((failure: NodeJS.ErrnoException) => {
    if (failure.code === "ENOENT" && path.endsWith("6")) return undefined;
    throw failure;
  });
  if (file === undefined) return "";
  try {
    const buffer = Buffer.alloc(65_536);
    let text = "";
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length);
      text += buffer.toString("latin1", 0, bytesRead);
      const whole = text.slice(0, text.lastIndexOf("\n") + 1);
      if (bytesRead === 0 || hasOtherState(whole)) return bytesRead === 0 ? text : whole;
    }
  } finally {
    await file.close();
  }
}

function hasOtherState(rows: string): boolean {
  const last = ROW.exec(rows.slice(rows.lastIndexOf("\n", rows.length - 2) + 1));
  return last !== null && last[3] !== LISTEN;
}

/** An address as such a table has it: words of 32 bits in the order of the machine. */
export function addressOf(hex: string, isLittleEndian = endianness() === "LE"): string {
  const bytes = Buffer.from(hex, "hex");
  if (isLittleEndian) bytes.swap32();
  if (bytes.length === 4) return [...bytes].join(".");
  return canonicalAddress(Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16)).join(":"));
}
