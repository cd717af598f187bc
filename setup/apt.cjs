/** Installs Debian's packages with apt, on a machine in whatever state its apt is. */
"use strict";

const { ProgramError, SetupError, runWithProgress } = require("./progress.cjs");

/** apt must ask nobody, restart nothing, wait for another apt instead of failing, and complain in English, which `remedyFor` reads. */
const ENVIRONMENT = { DEBIAN_FRONTEND: "noninteractive", NEEDRESTART_SUSPEND: "1", LC_ALL: "C" };
const OPTIONS = ["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0", "-q"];
const INSTALL = ["install", "-y", "--no-install-recommends", "--no-upgrade"];

function run(label, command, args, mustFinish = false) {
  return runWithProgress(label, command, args, { env: { ...process.env, ...ENVIRONMENT }, mustFinish });
}

/** In two steps, as only the second must not be cut short. */
async function fetchAndInstall(packages) {
  const names = packages.join(", ");
  await run(`fetching Debian packages: ${names}`, "apt-get", [...OPTIONS, ...INSTALL, "--download-only", ...packages]);
  await run(`installing Debian packages: ${names}`, "apt-get", [...OPTIONS, ...INSTALL, ...packages], true);
}

/** Gives what apt said. That some source is broken counts only if our packages cannot be had then. */
async function update() {
  try {
    return await run("apt-get update, as the package lists of this machine are absent or old", "apt-get", [...OPTIONS, "update"]);
  } catch (error) {
    if (!(error instanceof ProgramError)) throw error;
    return error.output;
  }
}

async function configure() {
  await run("dpkg --configure -a, as an earlier installation was cut short", "dpkg", ["--configure", "-a"], true);
  return "";
}

/** What helps where apt failed, by what it printed; undefined where nothing does that we may do. */
function remedyFor(output) {
  if (/dpkg was interrupted/.test(output)) return configure;
  if (/Unable to locate package|has no installation candidate|(Failed|Unable) to fetch/.test(output)) return update;
  return undefined;
}

function cannotInstall(packages, error, updateOutput) {
  const complaints = updateOutput.split("\n").filter((line) => /^(Err:|[WE]: )/.test(line)).map((line) => `\n    ${line}`).slice(0, 10);
  const because = complaints.length === 0 ? "" : `\nBefore that, apt-get update said:${complaints.join("")}`;
  return new SetupError(
    `cannot install ${packages.join(", ")}: this machine must reach its package sources (those in /etc/apt), or have these packages already\n${error.message}${because}`,
  );
}

/** Installs packages, after each remedy that apt's own complaint asks for; each at most once. */
async function installPackages(packages) {
  const said = new Map();
  for (;;) {
    try {
      return await fetchAndInstall(packages);
    } catch (error) {
      const remedy = error instanceof ProgramError ? remedyFor(error.output) : undefined;
      if (remedy === undefined) throw error;
      if (said.has(remedy)) throw remedy === update ? cannotInstall(packages, error, said.get(update)) : error;
      said.set(remedy, await remedy());
    }
  }
}

module.exports = { installPackages, remedyFor };
