/** The one folder outside the repository that the set-up writes to, and the lock that keeps two set-ups apart. */
"use strict";

const { spawnSync } = require("node:child_process");
const { closeSync, mkdirSync, openSync, readdirSync, rmSync, statSync } = require("node:fs");
const { dirname, join, resolve } = require("node:path");
const { SetupError, say } = require("./progress.cjs");
const { start } = require("./running.cjs");

const LOCK_WAIT_SECONDS = 1_800;
const WAIT_HEARTBEAT_MS = 15_000;
const OTHERS_MAY_ENTER = 0o001;
const PART_PREFIX = "part-";

function cacheFolder() {
  return resolve(process.env.IRONMESH_CACHE || "/var/cache/ironmesh");
}

/** Makes the folder. Envoy runs from it as another user, so everybody must be able to enter it. */
function makeCache() {
  const folder = cacheFolder();
  mkdirSync(join(folder, "bin"), { recursive: true, mode: 0o755 });
  for (let path = folder; ; path = dirname(path)) {
    if ((statSync(path).mode & OTHERS_MAY_ENTER) === 0) {
      throw new SetupError(
        `${path} is closed to other users, but Envoy runs from ${folder} as a user without rights: chmod a+x ${path}, or set IRONMESH_CACHE to another folder`,
      );
    }
    if (path === dirname(path)) return;
  }
}

/** Where something is built before it is renamed to its place; what is left there is removed at the end, or by the next set-up if this one is killed. */
function partPath(name) {
  return join(cacheFolder(), PART_PREFIX + name);
}

function removeParts() {
  for (const name of readdirSync(cacheFolder())) {
    if (name.startsWith(PART_PREFIX)) rmSync(join(cacheFolder(), name), { recursive: true, force: true });
  }
}

/**
 * Runs `work` while no other set-up on this cache does. The lock belongs to our
 * open file, which the kernel closes however we end, so it is never stale.
 */
async function lockCache(work) {
  const file = openSync(join(cacheFolder(), "lock"), "w", 0o644);
  try {
    if (spawnSync("flock", ["--nonblock", "3"], { stdio: ["ignore", "ignore", "ignore", file] }).status !== 0) {
      say("another set-up is at work on this machine: waiting for it");
      await waitForLock(file);
    }
    removeParts();
    process.once("exit", removeParts);
    return await work();
  } finally {
    closeSync(file);
  }
}

function waitForLock(file) {
  const heartbeat = setInterval(() => say("… still waiting for it"), WAIT_HEARTBEAT_MS);
  return new Promise((done, fail) => {
    const child = start("flock", ["--wait", String(LOCK_WAIT_SECONDS), "3"], { label: "waiting for the lock", stdio: ["ignore", "ignore", "ignore", file] });
    child.on("error", (error) => fail(new SetupError(`cannot run flock: ${error.message}`)));
    child.on("close", (code) => {
      if (code === 0) done();
      else fail(new SetupError(`another set-up still holds ${join(cacheFolder(), "lock")} after ${LOCK_WAIT_SECONDS} s`));
    });
  }).finally(() => clearInterval(heartbeat));
}

module.exports = { cacheFolder, lockCache, makeCache, partPath };
