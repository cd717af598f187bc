import { existsSync } from "node:fs";
import { mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";

/** Which of the kernel's two sets of rules `iptables` speaks to. */
export type IptablesVariant = "nft" | "legacy";

/** All that an agent with the iptables back end, and its reverter, execute on a host. */
const TOOLS = ["cat", "cp", "grep", "ip", "mkfifo", "mv", "rm", "sh", "sleep"] as const;
const IPTABLES = ["iptables", "iptables-restore", "iptables-save", "ip6tables", "ip6tables-restore", "ip6tables-save"] as const;
const FOLDERS = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"] as const;

/** Makes a folder that serves as PATH of a host without `nft`, where `iptables` is the given variant. */
export async function createIptablesPath(folder: string, variant: IptablesVariant): Promise<string> {
  await mkdir(folder, { recursive: true });
  for (const tool of TOOLS) await symlink(find(tool), join(folder, tool));
  // It looks at the name that it is called by.
  const program = find(`xtables-${variant}-multi`);
  for (const name of IPTABLES) await symlink(program, join(folder, name));
  return folder;
}

function find(program: string): string {
  const path = FOLDERS.map((folder) => join(folder, program)).find(existsSync);
  if (path === undefined) throw new Error(`${program} is not installed`);
  return path;
}
