import { randomUUID } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { CONTROL_GROUP_PREFIX } from "./control-group-sweeper.ts";
import type { LabHost, LabProcess, LabResult } from "./network-lab.ts";
import { waitUntil } from "./wait-until.ts";

/** A host of a network lab on which systemd was booted, with this project at /opt/ironmesh. */
export interface BootedHost {
  readonly name: string;
  readonly addresses: LabHost["addresses"];
  /** Runs a command inside to its end. A failing command is a result, not an exception. */
  run(command: string, args: readonly string[], options?: { readonly input?: string }): Promise<LabResult>;
  /** Runs a script of bash inside. @throws with what it said where it fails */
  shell(script: string): Promise<string>;
  write(path: string, content: string): Promise<void>;
  /** Reboots by its own systemd; resolves when it is up again. */
  reboot(): Promise<void>;
  /** As if its power were cut. */
  close(): Promise<void>;
}

export interface BootOptions {
  /** The root folder to boot; it is not written to. */
  readonly image: string;
  /** Folders of this machine, by where the host sees them, read-only. */
  readonly shows: Readonly<Record<string, string>>;
}

/** Where hosts keep what they write: a tmpfs that ends with the suite's namespaces. */
const MACHINES = "/dev/shm/machines";
/** What systemd-nspawn ends with when the guest asks for a reboot. */
const REBOOT = 133;

/**
 * Prepares mounts that only the host's own processes see, then boots until it
 * is powered off. Arguments: the image, a folder, the name of a control group, the command.
 */
const BOOT = `
image=$1 folder=$2 group=/sys/fs/cgroup/$3; shift 3
mkdir -p "$folder/root" && mount -t tmpfs tmpfs "$folder" && mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=$image,upperdir=$folder/upper,workdir=$folder/work" "$folder/root" || exit 1
mount -t tmpfs tmpfs /run && mount -t cgroup2 cgroup2 /sys/fs/cgroup && mkdir "$group" && echo $$ > "$group/cgroup.procs" || exit 1
while :; do
  "$@" & child=$!
  trap 'read -r leader < /proc/$child/task/$child/children; kill -KILL $leader $child; exit' TERM
  wait "$child"; code=$?
  [ "$code" = ${REBOOT} ] || exit "$code"
  # What the machine would lose, the network namespace keeps.
  nft flush ruleset; ip link set lo down; ip link set lo up
done
`;

export async function bootHost(host: LabHost, { image, shows }: BootOptions): Promise<BootedHost> {
  const { name, addresses } = host;
  const folder = join(MACHINES, name);
  await mkdir(folder, { recursive: true });
  const group = `${CONTROL_GROUP_PREFIX}${randomUUID()}`;
  const binds = Object.entries(shows).map(([inside, outside]) => `--bind-ro=${outside}:${inside}`);
  const nspawn = ["--quiet", "--boot", `--directory=${join(folder, "root")}`, `--machine=${name}`, ...NSPAWN, ...binds];
  const script = ["unshare", "-m", "--propagation", "private", "sh", "-c", BOOT, "boot", image, folder, group];
  const machine = host.spawn("env", ["SYSTEMD_NSPAWN_API_VFS_WRITABLE=network", ...script, "systemd-nspawn", ...nspawn]);
  const hasEnded = (): boolean => machine.child.exitCode !== null || machine.child.signalCode !== null;
  const isUp = async (): Promise<boolean> => /^(running|degraded)/.test((await run("systemctl", ["is-system-running"])).stdout);
  const run: BootedHost["run"] = async (command, args, options) => {
    const leader = await leaderOf(machine);
    return host.run("nsenter", ["-t", `${leader}`, "-m", "-u", "-i", "-n", "-p", "-C", "--", "env", "-i", "--chdir=/", ...ENVIRONMENT, command, ...args], options);
  };
  const waitForBoot = async (): Promise<void> => {
    await waitUntil(() => hasEnded() || isUp(), { what: `systemd on ${name}` });
    if (hasEnded()) throw new Error(`${name} ended while it booted:\n${machine.output()}`);
  };
  await waitForBoot();
  return {
    name,
    addresses,
    run,
    async shell(script) {
      const { code, stdout, stderr } = await run("bash", ["-c", script]);
      if (code !== 0) throw new Error(`on ${name}, exit code ${code}: ${script}\n${stdout}${stderr}`);
      return stdout;
    },
    async write(path, content) {
      const { code, stderr } = await run("sh", ["-c", 'mkdir -p "${1%/*}" && cat > "$1"', "sh", path], { input: content });
      if (code !== 0) throw new Error(`cannot write ${path} on ${name}: ${stderr}`);
    },
    async reboot() {
      const before = await leaderOf(machine);
      await run("systemctl", ["reboot"]);
      await waitUntil(async () => (await leaderOf(machine)) !== before, { what: `${name} to go down` });
      await waitForBoot();
    },
    close: () => machine.close(),
  };
}

const ENVIRONMENT = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"];

const NSPAWN = [
  "--register=no",
  "--keep-unit",
  "--console=pipe",
  "--link-journal=no",
  "--resolv-conf=off",
  "--timezone=off",
  "--kill-signal=SIGRTMIN+3",
  "--capability=CAP_NET_ADMIN",
];

/** The first process of the host: the child of the systemd-nspawn that boots it now. */
async function leaderOf(machine: LabProcess): Promise<number> {
  let pid = machine.child.pid ?? 0;
  for (;;) {
    const name = await readFile(`/proc/${pid}/comm`, "utf8");
    const [child] = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).trim().split(" ").filter(Boolean);
    if (child === undefined) throw new Error(`process ${pid}, ${name.trim()}, has no child yet`);
    pid = Number(child);
    if (name.trim() === "systemd-nspawn") return pid;
  }
}
