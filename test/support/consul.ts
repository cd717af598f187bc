import { spawn, execFileSync } from "node:child_process";
import { accessSync, closeSync, constants, mkdirSync, openSync, renameSync, rmSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Of test/peers/tools/go.mod. */
const VERSION = "1.22.5";
const GO_VERSION = "1.25.7";
const HEARTBEAT_MS = 10_000;
const REMEDY = `install Consul (https://developer.hashicorp.com/consul/install) or Go ${GO_VERSION} or newer (https://go.dev/dl), on PATH`;

const toolsFolder = join(import.meta.dirname, "..", "peers", "tools");

/** Where a Consul is, or why there is none and what a person can do about it. */
export type ConsulSearch = { readonly path: string } | { readonly missing: string };

/** The Consul to run: the first on PATH, else the one that was built into the cache; undefined without either. */
export function consulPath(): string | undefined {
  return [...onPath("consul"), builtPath()].find(isExecutable);
}

/**
 * Builds Consul from the Go module proxy into the cache where there is none:
 * about eight minutes of CPU, once, at the lowest priority. Go's own caches lie
 * beside it and go with it, so that nothing else of the machine is touched; a
 * build that was interrupted goes on where it ended.
 */
export async function ensureConsul(say: (text: string) => void = console.log): Promise<ConsulSearch> {
  const found = consulPath();
  if (found !== undefined) return { path: found };
  const [go] = onPath("go").filter(isExecutable);
  if (go === undefined) return { missing: `there is no consul, and no go to build it: ${REMEDY}` };
  mkdirSync(join(cacheFolder(), "bin"), { recursive: true });
  const lock = openSync(join(cacheFolder(), "consul-lock"), "w", 0o644);
  try {
    const failure = (await takeLock(lock, say)) ?? (await buildOnce(go, say));
    const path = consulPath();
    return path === undefined ? { missing: `consul ${VERSION} cannot be built: ${failure ?? "it is not where it was put"}; ${REMEDY}` } : { path };
  } finally {
    closeSync(lock);
  }
}

/** The lock belongs to our open file, so that it ends with us in whatever way. */
async function takeLock(file: number, say: (text: string) => void): Promise<string | undefined> {
  if ((await run("flock", ["--nonblock", "3"], file).ended) === undefined) return undefined;
  say("  consul: somebody else builds it on this machine: waiting for that");
  return run("flock", ["3"], file).ended;
}

/** @returns why it failed, in Go's words; undefined when it did not */
async function buildOnce(go: string, say: (text: string) => void): Promise<string | undefined> {
  // Whoever had the lock before may have done it.
  if (consulPath() !== undefined) return undefined;
  const goFolder = join(cacheFolder(), "go");
  const partial = join(goFolder, `consul-${VERSION}`);
  const folders = { GOPATH: goFolder, GOMODCACHE: join(goFolder, "modules"), GOCACHE: join(goFolder, "objects"), GOTMPDIR: join(goFolder, "work") };
  rmSync(folders.GOTMPDIR, { recursive: true, force: true });
  mkdirSync(folders.GOTMPDIR, { recursive: true });
  say(`  consul: building ${VERSION} with ${execFileSync(go, ["version"], { encoding: "utf8" }).trim()} into ${cacheFolder()}, once; about 8 minutes of CPU`);
  const startedAt = Date.now();
  const args = ["build", "-v", "-mod=readonly", "-modcacherw", "-o", partial, "github.com/hashicorp/consul"];
  const build = run("nice", ["-n", "19", go, ...args], undefined, folders);
  const heartbeat = setInterval(() => say(`  consul: ${build.lines()} packages after ${Math.round((Date.now() - startedAt) / 1_000)} s`), HEARTBEAT_MS);
  try {
    const failure = await build.ended;
    if (failure !== undefined) return failure;
  } finally {
    clearInterval(heartbeat);
  }
  renameSync(partial, builtPath());
  rmSync(goFolder, { recursive: true, force: true });
  return undefined;
}

interface Command {
  /** Resolves with why it failed, in its own last words; undefined when it did not. */
  readonly ended: Promise<string | undefined>;
  readonly lines: () => number;
}

/** Runs a command that is interrupted when we end, which go cleans up after. @param inherited becomes its descriptor 3 */
function run(command: string, args: readonly string[], inherited?: number, env: Readonly<Record<string, string>> = {}): Command {
  const child = spawn("setpriv", ["--pdeathsig", "INT", command, ...args], {
    cwd: toolsFolder,
    stdio: ["ignore", "ignore", "pipe", ...(inherited === undefined ? [] : [inherited])],
    env: { ...process.env, ...env },
  });
  let lines = 0;
  let said = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    const text = chunk.toString();
    lines += text.split("\n").length - 1;
    said = (said + text).slice(-2_000);
  });
  const ended = new Promise<string | undefined>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) => resolve(code === 0 ? undefined : said.trim().split("\n").slice(-5).join("; ") || `it ended with ${code ?? signal}`));
  });
  return { ended, lines: () => lines };
}

function cacheFolder(): string {
  return process.env["IRONMESH_CACHE"] ?? "/var/cache/ironmesh";
}

function builtPath(): string {
  return join(cacheFolder(), "bin", `consul-${VERSION}`);
}

function onPath(name: string): string[] {
  return [...(process.env["PATH"] ?? "").split(delimiter), "/usr/local/go/bin"].map((folder) => join(folder, name));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
