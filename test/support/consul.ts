import { execFileSync, spawn } from "node:child_process";
import { accessSync, constants, mkdirSync, renameSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Of test/peers/tools/go.mod. */
const VERSION = "1.22.5";
const HEARTBEAT_MS = 10_000;

const toolsFolder = join(import.meta.dirname, "..", "peers", "tools");

/** The Consul that tests run: the first on PATH, else the one that was built into the cache; undefined without either. */
export function consulPath(): string | undefined {
  return [...onPath("consul"), builtPath()].find(isExecutable);
}

/**
 * Builds Consul from the Go module proxy into the cache where there is none:
 * about eight minutes of CPU, once, at the lowest priority. Where that is
 * impossible, says why, and tests that need it are skipped.
 */
export async function ensureConsul(say: (text: string) => void = console.log): Promise<void> {
  if (consulPath() !== undefined) return;
  const [go] = onPath("go").filter(isExecutable);
  if (go === undefined) {
    say("  consul: there is none on PATH, and no Go to build it: its tests are skipped (apt-get install consul, or golang)");
    return;
  }
  const target = builtPath();
  const partial = `${target}.${process.pid}`;
  mkdirSync(join(target, ".."), { recursive: true });
  say(`  consul: building ${VERSION} with ${execFileSync(go, ["version"], { encoding: "utf8" }).trim()}, once; about 8 minutes of CPU`);
  const failure = await build(go, partial, say);
  if (failure === undefined) renameSync(partial, target);
  else say(`  consul: cannot be built, so its tests are skipped: ${failure}`);
}

/** @returns why it failed, in Go's words; undefined when it did not */
function build(go: string, target: string, say: (text: string) => void): Promise<string | undefined> {
  const startedAt = Date.now();
  const args = ["-n", "19", go, "build", "-v", "-mod=readonly", "-o", target, "github.com/hashicorp/consul"];
  const child = spawn("nice", args, { cwd: toolsFolder, stdio: ["ignore", "ignore", "pipe"] });
  let packages = 0;
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    const text = chunk.toString();
    packages += text.split("\n").length - 1;
    said = (said + text).slice(-2_000);
  });
  const heartbeat = setInterval(() => say(`  consul: ${packages} packages after ${Math.round((Date.now() - startedAt) / 1_000)} s`), HEARTBEAT_MS);
  return new Promise<string | undefined>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code) => resolve(code === 0 ? undefined : said.trim().split("\n").slice(-5).join("; ")));
  }).finally(() => clearInterval(heartbeat));
}

function builtPath(): string {
  return join(process.env["IRONMESH_CACHE"] ?? "/var/cache/ironmesh", "bin", `consul-${VERSION}`);
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
