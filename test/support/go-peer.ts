import { spawn, execFileSync } from "node:child_process";
import { accessSync, closeSync, constants, mkdirSync, openSync, renameSync, rmSync } from "node:fs";
import { delimiter, join } from "node:path";

const HEARTBEAT_MS = 10_000;

/** Programs of others that tests run for real, written in Go. */
export interface GoPeer {
  /** As people call it. */
  readonly name: string;
  /** The module of tools that pins it, and the Go that this needs. */
  readonly folder: string;
  readonly goVersion: string;
  readonly cpuMinutes: number;
  readonly programs: readonly GoProgram[];
  /** What installs it by other means than building: `install Consul (…)`. */
  readonly remedy: string;
}

export interface GoProgram {
  /** On PATH. */
  readonly command: string;
  /** Of the module's go.mod. */
  readonly version: string;
  readonly package: string;
}

/** Where the programs are, by command, or why they are not and what a person can do about it. */
export type GoPeerSearch = { readonly paths: ReadonlyMap<string, string> } | { readonly missing: string };

/** The programs to run: each the first on PATH, else the one that was built into the cache; undefined where one is neither. */
export function goPeerPaths({ programs }: GoPeer): ReadonlyMap<string, string> | undefined {
  const found = programs.flatMap((program) => {
    const path = [...onPath(program.command), builtPath(program)].find(isExecutable);
    return path === undefined ? [] : [[program.command, path] as const];
  });
  return found.length === programs.length ? new Map(found) : undefined;
}

/**
 * Builds what is missing from the Go module proxy into the cache, once, at the
 * lowest priority. Go's own caches lie beside it and go with it, so that nothing
 * else of the machine is touched; a build that was interrupted goes on where it
 * ended.
 */
export async function ensureGoPeer(peer: GoPeer, say: (text: string) => void = console.log): Promise<GoPeerSearch> {
  const { name, goVersion } = peer;
  const remedy = `${peer.remedy} or Go ${goVersion} or newer (https://go.dev/dl), on PATH`;
  const found = goPeerPaths(peer);
  if (found !== undefined) return { paths: found };
  const [go] = onPath("go").filter(isExecutable);
  if (go === undefined) return { missing: `there is no ${name}, and no go to build it: ${remedy}` };
  mkdirSync(join(cacheFolder(), "bin"), { recursive: true });
  const lock = openSync(join(cacheFolder(), `${name}-lock`), "w", 0o644);
  try {
    const failure = (await takeLock(lock, peer, say)) ?? (await buildOnce(go, peer, say));
    const paths = goPeerPaths(peer);
    return paths === undefined ? { missing: `${name} cannot be built: ${failure ?? "it is not where it was put"}; ${remedy}` } : { paths };
  } finally {
    closeSync(lock);
  }
}

/** The lock belongs to our open file, so that it ends with us in whatever way. */
async function takeLock(file: number, { name, folder }: GoPeer, say: (text: string) => void): Promise<string | undefined> {
  if ((await run("flock", ["--nonblock", "3"], { cwd: folder, inherited: file }).ended) === undefined) return undefined;
  say(`  ${name}: somebody else builds it on this machine: waiting for that`);
  return run("flock", ["3"], { cwd: folder, inherited: file }).ended;
}

/** @returns why it failed, in Go's words; undefined when it did not */
async function buildOnce(go: string, peer: GoPeer, say: (text: string) => void): Promise<string | undefined> {
  const { name, folder, programs, cpuMinutes } = peer;
  // Whoever had the lock before may have done it.
  if (goPeerPaths(peer) !== undefined) return undefined;
  const goFolder = join(cacheFolder(), `go-${name}`);
  const env = { GOPATH: goFolder, GOMODCACHE: join(goFolder, "modules"), GOCACHE: join(goFolder, "objects"), GOTMPDIR: join(goFolder, "work") };
  rmSync(env.GOTMPDIR, { recursive: true, force: true });
  mkdirSync(env.GOTMPDIR, { recursive: true });
  const missing = programs.filter((program) => ![...onPath(program.command), builtPath(program)].some(isExecutable));
  const what = missing.map(({ command, version }) => `${command} ${version}`).join(" and ");
  say(`  ${name}: building ${what} with ${execFileSync(go, ["version"], { encoding: "utf8" }).trim()} into ${cacheFolder()}, once; about ${cpuMinutes} minutes of CPU`);
  const startedAt = Date.now();
  for (const program of missing) {
    const partial = join(goFolder, `${program.command}-${program.version}`);
    const args = ["build", "-v", "-mod=readonly", "-modcacherw", "-o", partial, program.package];
    const build = run("nice", ["-n", "19", go, ...args], { cwd: folder, env });
    const heartbeat = setInterval(() => say(`  ${name}: ${program.command}: ${build.lines()} packages after ${Math.round((Date.now() - startedAt) / 1_000)} s`), HEARTBEAT_MS);
    try {
      const failure = await build.ended;
      if (failure !== undefined) return failure;
    } finally {
      clearInterval(heartbeat);
    }
    renameSync(partial, builtPath(program));
  }
  rmSync(goFolder, { recursive: true, force: true });
  return undefined;
}

interface Command {
  /** Resolves with why it failed, in its own last words; undefined when it did not. */
  readonly ended: Promise<string | undefined>;
  readonly lines: () => number;
}

interface CommandOptions {
  readonly cwd: string;
  /** Becomes its descriptor 3. */
  readonly inherited?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a command that is interrupted when we end, which go cleans up after. */
function run(command: string, args: readonly string[], { cwd, inherited, env = {} }: CommandOptions): Command {
  const child = spawn("setpriv", ["--pdeathsig", "INT", command, ...args], {
    cwd,
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

export function cacheFolder(): string {
  return process.env["IRONMESH_CACHE"] ?? "/var/cache/ironmesh";
}

function builtPath({ command, version }: GoProgram): string {
  return join(cacheFolder(), "bin", `${command}-${version}`);
}

/** Where a command of that name could be, the first that counts first. */
export function onPath(name: string): string[] {
  return [...(process.env["PATH"] ?? "").split(delimiter), "/usr/local/go/bin"].map((folder) => join(folder, name));
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
