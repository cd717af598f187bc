import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The release that is booted: systemd 252, the oldest that our units are tried with. */
const RELEASE = "bookworm";
const MIRROR = "http://deb.debian.org/debian";
/** Named, since elsewhere than on Debian apt does not trust it by itself, and mmdebstrap finds it only where there is gpg. */
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const PACKAGES = ["systemd", "systemd-sysv", "dbus", "iproute2", "nftables", "iptables", "curl", "ca-certificates", "procps", "libstdc++6", "netbase"];
/** What nobody reads in a test, and what only apt needs. */
const LEFT_OUT = ["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*"];
const UNNEEDED = ["var/lib/apt/lists", "var/cache/apt", "usr/share/doc", "usr/share/locale", "etc/hostname"];

const BUILDER = "mmdebstrap";
const BOOTER = "systemd-nspawn";
const HEARTBEAT_MS = 10_000;

/** A root folder of a small Debian with systemd, which hosts share and never write to; undefined where it could not be built. */
export function bootedImagePath(): string | undefined {
  const path = imagePath();
  return existsSync(path) && hasCommand(BOOTER) ? path : undefined;
}

/**
 * Builds the image into the cache with mmdebstrap unless it is there: two
 * minutes or so, once. Where that is impossible, says why, and tests that need
 * it are skipped.
 */
export async function ensureBootedImage(say: (text: string) => void = console.log): Promise<void> {
  const target = imagePath();
  const isThere = existsSync(target);
  const missing = (isThere ? [BOOTER] : [BUILDER, BOOTER]).filter((command) => !hasCommand(command));
  if (missing.length > 0) {
    say(`  booted hosts: there is no ${missing.join(" and no ")} here, so their tests are skipped (apt-get install mmdebstrap systemd-container)`);
    return;
  }
  if (isThere) return;
  mkdirSync(cacheFolder(), { recursive: true });
  removeOutdated();
  // Renamed to its place when it is whole.
  const partial = `${target}.${process.pid}`;
  say(`  booted hosts: building an image of Debian ${RELEASE} with systemd, once; a few minutes`);
  const failure = await build(partial, say);
  if (failure === undefined) {
    finish(partial);
    renameSync(partial, target);
  } else {
    rmSync(partial, { recursive: true, force: true });
    say(`  booted hosts: the image cannot be built, so their tests are skipped: ${failure}`);
  }
}

/** @returns why it failed, in its own words; undefined when it did not */
function build(target: string, say: (text: string) => void): Promise<string | undefined> {
  // Its mounts and processes end with its namespaces, and those with us.
  const isolate = ["--pdeathsig", "KILL", "unshare", "-m", "-p", "--fork", "--kill-child", "--mount-proc", "nice", "-n", "19"];
  const options = [
    "--mode=root",
    "--variant=essential",
    `--include=${PACKAGES.join(",")}`,
    ...LEFT_OUT.map((path) => `--dpkgopt=path-exclude=${path}`),
    '--aptopt=Acquire::Languages "none"',
  ];
  const startedAt = Date.now();
  const child = spawn("setpriv", [...isolate, "mmdebstrap", ...options, RELEASE, target, `deb [signed-by=${KEYRING}] ${MIRROR} ${RELEASE} main`], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  let stage = "starting";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-4_000);
    stage = [...said.matchAll(/^I: (.*)$/gm)].at(-1)?.[1] ?? stage;
  });
  const heartbeat = setInterval(() => say(`  booted hosts: ${stage} (${Math.round((Date.now() - startedAt) / 1_000)} s)`), HEARTBEAT_MS);
  return new Promise<string | undefined>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code) => resolve(code === 0 ? undefined : said.trim().split("\n").slice(-5).join("; ")));
  }).finally(() => clearInterval(heartbeat));
}

/** Images of other recipes, and what killed builds left; not what somebody is building now. */
function removeOutdated(): void {
  for (const name of readdirSync(cacheFolder())) {
    const builder = /^booted-[0-9a-f]+(?:\.(\d+))?$/.exec(name);
    if (builder === null || existsSync(`/proc/${builder[1] ?? "none"}`)) continue;
    rmSync(join(cacheFolder(), name), { recursive: true, force: true });
  }
}

/** What must not be the same on every host, or be there at all. */
function finish(image: string): void {
  for (const path of UNNEEDED) rmSync(join(image, path), { recursive: true, force: true });
  writeFileSync(join(image, "etc/machine-id"), "");
  // A resolver of the network that nobody runs: names of the mesh must not need it.
  writeFileSync(join(image, "etc/resolv.conf"), "nameserver 10.77.0.253\noptions timeout:1 attempts:1\n");
}

function imagePath(): string {
  const recipe = createHash("sha256").update(JSON.stringify([RELEASE, MIRROR, PACKAGES, LEFT_OUT, UNNEEDED, process.arch])).digest("hex");
  return join(cacheFolder(), `booted-${recipe.slice(0, 12)}`);
}

function cacheFolder(): string {
  return process.env["IRONMESH_CACHE"] ?? "/var/cache/ironmesh";
}

function hasCommand(command: string): boolean {
  return spawnSync("sh", ["-c", 'command -v "$1"', "sh", command]).status === 0;
}
