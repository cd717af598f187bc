import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

/** As a virtual machine has them: one local resolver, `NAME.NAMESPACE` for short, and no lookups by other means. */
const FILES = [
  ["resolv.conf", "nameserver 127.0.0.53\nsearch svc.mesh.internal\noptions ndots:2 timeout:2 attempts:2\n"],
  ["nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"],
] as const;

/**
 * Gives the hosts of the lab name resolution of their own, in this (private)
 * mount namespace alone. The hosts' agents answer what is sent to that address.
 */
export async function pointResolverAtMesh(folder: string): Promise<void> {
  for (const [name, text] of FILES) {
    const own = join(folder, name);
    await writeFile(own, text, { mode: 0o644 });
    // Where there is none, the C library asks 127.0.0.1, which is as good.
    if (existsSync(join("/etc", name))) await promisify(execFile)("mount", ["--bind", own, join("/etc", name)]);
  }
}
