/** npm's packages, the project's own Node among them. */
"use strict";

const { spawnSync } = require("node:child_process");
const { chmodSync, existsSync, readFileSync, renameSync, rmSync, symlinkSync } = require("node:fs");
const { join } = require("node:path");
const { cacheFolder } = require("./cache.cjs");
const { ProgramError, SetupError, runWithProgress, say } = require("./progress.cjs");
const { hashOf, isStamped, readIfThere, stamp } = require("./stamp.cjs");
const { begin, finish, isUnfinished } = require("./unfinished.cjs");

const root = join(__dirname, "..");
const folder = join(root, "node_modules");
const stampFile = join(folder, ".ironmesh-stamp");
const NODE = join(root, "node_modules", ".bin", "node");
const NODE_MAJOR = "v24.";
const AS_PROJECT_NODE = join(__dirname, "as-project-node.cjs");

/**
 * No dependency's install script runs (none is needed, and they are a way in
 * for strangers); whatever a person's npm configuration omits, we need both the
 * tools and the Node runtime, which is an optional dependency per platform;
 * the lock file is read, never written. npm's own cache goes into ours, so that
 * nothing stays in a home folder.
 */
const INSTALL = ["install", "--ignore-scripts", "--include=dev", "--include=optional", "--no-save", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error", "--no-progress"];

/** What npm prints when it cannot talk to a registry. */
const UNREACHABLE = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|CERT|network/;

function inputs() {
  const lock = readIfThere(join(root, "package-lock.json")) || "";
  return hashOf([readFileSync(join(root, "package.json")), lock, process.arch, INSTALL.join(" "), readFileSync(AS_PROJECT_NODE)]);
}

function runtimeVersion() {
  const asked = spawnSync(NODE, ["--version"], { encoding: "utf8" });
  return asked.status === 0 ? asked.stdout.trim() : undefined;
}

function runtimeIsRight() {
  const version = runtimeVersion();
  return version !== undefined && version.startsWith(NODE_MAJOR);
}

/**
 * npm 10 brings the runtime's package from our lock file without linking its
 * program, and a change of the package that owns the link can lose it.
 */
function linkRuntime() {
  const runtime = join("..", `node-linux-${process.arch}`, "bin", "node");
  const target = join(NODE, "..", runtime);
  if (!existsSync(target)) return;
  chmodSync(target, 0o755);
  rmSync(`${NODE}.new`, { force: true });
  symlinkSync(runtime, `${NODE}.new`);
  renameSync(`${NODE}.new`, NODE);
}

async function npmInstall() {
  // npm takes a package that it unpacked by half for whole.
  if (begin(folder)) say("an earlier npm install did not end well: starting it anew");
  // npm tells its scripts where it lies itself; by name it may be another npm, or none.
  const npm = process.env.npm_execpath;
  const [command, first] = npm && npm.endsWith(".js") ? [process.execPath, [npm]] : ["npm", []];
  const env = { ...process.env, NODE_OPTIONS: `${process.env.NODE_OPTIONS || ""} --require "${AS_PROJECT_NODE}"` };
  try {
    await runWithProgress("npm install", command, [...first, ...INSTALL, `--cache=${join(cacheFolder(), "npm")}`], { cwd: root, env });
  } catch (error) {
    const cannotReach = error instanceof ProgramError && UNREACHABLE.test(error.output);
    throw cannotReach ? new SetupError(`this machine must reach an npm registry (npm config get registry; proxy, https-proxy and cafile in an .npmrc)\n${error.message}`) : error;
  }
  finish(folder);
}

/** Installs when package.json or the lock changed since the last time, or the runtime is not there. */
async function ensureNodeModules() {
  const wanted = inputs();
  if (isStamped(stampFile, wanted) && !isUnfinished(folder) && runtimeIsRight()) return;
  await npmInstall();
  if (!runtimeIsRight()) linkRuntime();
  if (!runtimeIsRight()) {
    const found = runtimeVersion() || "nothing";
    throw new SetupError(
      `npm was to bring Node ${NODE_MAJOR}x to ${NODE}, but there is ${found}: remove node_modules and run this again (it comes as npm's package node-linux-${process.arch} and needs glibc 2.28 or newer)`,
    );
  }
  stamp(stampFile, wanted);
}

module.exports = { NODE, ensureNodeModules };
