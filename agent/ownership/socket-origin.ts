import type { CommandRunner } from "../interception/command-runner.ts";

/** The control group that a socket was made in, below the root: its path, or its number (the inode of its folder) where the path cannot be told. */
export type SocketOrigin = { readonly path: string } | { readonly id: number };

const INODE = / ino:(\d+)(?: |$)/;
/** The first: whoever names a control group may write what looks like another one into its name. */
const CONTROL_GROUP = / cgroup:(.*?)(?= (?:v6only:|[<-]-[>-]|cgroup:)|\s*$)/;

/**
 * What `ss --listening --extended --cgroup` prints, by inode.
 *
 * @throws Error where it tells no control groups: the kernel or `ss` is too old
 */
export function parseOrigins(text: string): ReadonlyMap<number, SocketOrigin> {
  const origins = new Map<number, SocketOrigin>();
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  for (const line of lines) {
    const [inode, group] = [INODE.exec(line)?.[1], CONTROL_GROUP.exec(line)?.[1]];
    if (inode === undefined || group === undefined) continue;
    const unreachable = /^unreachable:([0-9a-f]+)$/.exec(group)?.[1];
    origins.set(Number(inode), unreachable === undefined ? { path: group.replace(/^\//, "") } : { id: Number.parseInt(unreachable, 16) });
  }
  if (lines.length > 0 && origins.size === 0) throw new Error("`ss` tells no control groups of sockets");
  return origins;
}

/** Where the listening TCP sockets of this network namespace were made, of one moment. */
export async function readOrigins(runner: CommandRunner): Promise<ReadonlyMap<number, SocketOrigin>> {
  const { code, stdout, stderr } = await runner.run("ss", ["--no-header", "--listening", "--tcp", "--numeric", "--extended", "--cgroup"]);
  if (code !== 0) throw new Error(`\`ss --cgroup\` failed: ${stderr.trim().split("\n")[0] ?? ""}`);
  return parseOrigins(stdout);
}

/**
 * What `systemctl show --property=Listen,Triggers SOCKET…` prints: the units
 * that those of the sockets start which listen on this TCP port.
 */
export function parseActivated(text: string, port: number): readonly string[] {
  return text.split("\n\n").flatMap((block) => {
    const lines = block.split("\n");
    const listens = lines.some((line) => line.startsWith("Listen=") && line.endsWith(`:${port} (Stream)`));
    return listens ? lines.flatMap((line) => (line.startsWith("Triggers=") ? line.slice("Triggers=".length).split(" ").filter(Boolean) : [])) : [];
  });
}

/** @param units a name, or a pattern of names */
export async function readActivated(runner: CommandRunner, units: string, port: number): Promise<readonly string[]> {
  const { code, stdout, stderr } = await runner.run("systemctl", ["show", "--property=Listen", "--property=Triggers", "--", units]);
  if (code !== 0) throw new Error(`\`systemctl show ${units}\` failed: ${stderr.trim().split("\n")[0] ?? ""}`);
  return parseActivated(stdout, port);
}
