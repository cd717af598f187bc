/** What a machine must be before anything is installed on it. */
"use strict";

const { spawnSync } = require("node:child_process");
const { existsSync } = require("node:fs");
const { delimiter, join } = require("node:path");

const ARCHITECTURES = ["x64", "arm64"];

/** Where the machine keeps what only root runs, which a root shell made by `su` may not have on its PATH. */
const ROOT_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

function isOnPath(command) {
  const folders = (process.env.PATH || "").split(delimiter).concat(ROOT_FOLDERS);
  return folders.some((folder) => folder !== "" && existsSync(join(folder, command)));
}

/** The environment of a program that may lie there. */
function withRootFolders() {
  return { ...process.env, PATH: [process.env.PATH || "", ...ROOT_FOLDERS].join(delimiter) };
}

/** `npm` is what npm calls itself in the environment of its scripts. */
function notRoot(npm) {
  const remedy = /^npm\/[78]\./.test(npm)
    ? "this npm runs scripts as the owner of the folder, even for root: chown -R root: . and run the same command as root or with sudo"
    : "run the same command with sudo, or as root";
  return `you are not root: hosts are simulated with network namespaces (${remedy})`;
}

/** Everything that stands in the way, each with what to do about it; empty when nothing does. */
function machineProblems() {
  const problems = [];
  if (process.platform !== "linux") {
    return [`it runs ${process.platform}: network namespaces and nftables are Linux's (use a Linux virtual machine)`];
  }
  if (!ARCHITECTURES.includes(process.arch)) {
    problems.push(`its architecture is ${process.arch}: Envoy and Node are fetched for ${ARCHITECTURES.join(" and ")}`);
  }
  if (process.getuid() !== 0) {
    problems.push(notRoot(process.env.npm_config_user_agent || ""));
  } else {
    const tried = spawnSync("unshare", ["-n", "-m", "-p", "--fork", "true"], { encoding: "utf8" });
    if (tried.error !== undefined) problems.push("`unshare` is missing (Debian's package util-linux)");
    else if (tried.status !== 0) {
      problems.push(`namespaces are not allowed here: ${tried.stderr.trim()} (in a container: start it with --privileged)`);
    }
  }
  return problems;
}

module.exports = { isOnPath, machineProblems, notRoot, withRootFolders };
