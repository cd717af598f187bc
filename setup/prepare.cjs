/**
 * Makes this machine ready for `npm run demo` or `npm test`, and is run by npm
 * before both; or for being a host of a mesh (`host`). Plain CommonJS, because the Node that starts it is the machine's own:
 * 16 or newer, without node_modules. What is there already is left alone.
 *
 * What it touches: missing Debian packages, node_modules, proto/gen, and one
 * folder of its own (/var/cache/ironmesh, or IRONMESH_CACHE).
 */
"use strict";

const oldest = 16;
if (Number(process.versions.node.split(".")[0]) < oldest) {
  console.error("set-up: Node " + process.version + " cannot run the set-up: it needs Node " + oldest + " or newer (apt-get install nodejs)");
  process.exit(1);
}

const { cacheFolder, lockCache, makeCache } = require("./cache.cjs");
const { ensureEnvoy } = require("./envoy.cjs");
const { machineProblems } = require("./machine.cjs");
const { ensureNodeModules } = require("./node-modules.cjs");
const { ensurePackages } = require("./packages.cjs");
const { ProgramError, SetupError, say, spoke } = require("./progress.cjs");
const { ensureProto } = require("./proto.cjs");
const { endInOrder } = require("./running.cjs");

const PURPOSES = ["demo", "test", "host"];
const CLONE_MB = 500;
const CACHE_MB = 350;
const DISK_PROBLEMS = {
  EACCES: "it is not allowed to write there",
  EDQUOT: "the disk quota is used up",
  ENOSPC: "no space is left on the disk",
  EROFS: "the file system is read-only",
};

async function prepare(purpose) {
  if (!PURPOSES.includes(purpose)) throw new SetupError(`prepare what? one of: ${PURPOSES.join(", ")}`);
  const problems = machineProblems();
  if (problems.length > 0) throw new SetupError(["this machine cannot go on:", ...problems].join("\n  - "));

  const startedAt = Date.now();
  makeCache();
  await lockCache(async () => {
    await ensurePackages(purpose);
    await ensureNodeModules();
    await ensureEnvoy();
    await ensureProto();
  });
  if (spoke()) say(`ready (${Math.round((Date.now() - startedAt) / 1000)} s); what was fetched is in node_modules and ${cacheFolder()}`);
}

/** What a person is told; of our own mistakes, where they are. */
function explain(error) {
  const isFull = error instanceof ProgramError && /ENOSPC|No space left on device/i.test(error.output);
  if (error instanceof SetupError) return isFull ? `${error.message}\n${needs()}` : error.message;
  const problem = DISK_PROBLEMS[error.code];
  return problem === undefined ? error.stack : `${problem}${error.path === undefined ? "" : `: ${error.path}`}\n${needs()}`;
}

function needs() {
  return `The set-up writes about ${CLONE_MB} MB into the clone and ${CACHE_MB} MB into ${cacheFolder()} (IRONMESH_CACHE names another folder)`;
}

endInOrder();
prepare(process.argv[2] || "test").catch((error) => {
  console.error(`set-up: ${explain(error)}`);
  process.exitCode = 1;
});
