/**
 * What the set-up runs right now, and how both end early: on Ctrl-C, on a signal
 * from outside, and when the npm that started us is gone.
 */
"use strict";

const { spawn } = require("node:child_process");
const { readFileSync } = require("node:fs");
const { constants } = require("node:os");

const ENDING_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"];
const PARENT_CHECK_MS = 500;
/** How long a program may take to clean up after itself. */
const GRACE_MS = 1_500;

/** The program that runs now, of `start`; at most one. */
let current;
let exitCodeOnceDone;

/**
 * Starts a program, which does not outlive us, however we end. With `mustFinish`
 * it is one that must not be cut short (a package that is half installed stops
 * every apt afterwards): the terminal's Ctrl-C does not reach it, and an end that
 * we are asked for waits for its own.
 */
function start(command, args, { label, mustFinish = false, ...options }) {
  const child = mustFinish
    ? spawn(command, args, { ...options, detached: true })
    : spawn("setpriv", ["--pdeathsig", "KILL", command, ...args], options);
  current = { child, label, mustFinish };
  child.once("close", () => {
    current = undefined;
    if (exitCodeOnceDone !== undefined) process.exit(exitCodeOnceDone);
  });
  child.once("error", () => {
    if (child.pid === undefined) current = undefined;
  });
  return child;
}

function end(exitCode) {
  if (current === undefined) process.exit(exitCode);
  if (exitCodeOnceDone !== undefined) return;
  exitCodeOnceDone = exitCode;
  const { child, label, mustFinish } = current;
  if (mustFinish) {
    console.log(`set-up: ending as soon as this is done, as it must not be cut short: ${label}`);
    return;
  }
  child.kill("SIGTERM");
  setTimeout(() => child.kill("SIGKILL"), GRACE_MS).unref();
}

/** From now on this process ends together with what it runs. */
function endInOrder() {
  // A terminal that was closed takes no more text, which is no reason to leave a package half installed.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
  for (const signal of ENDING_SIGNALS) process.on(signal, () => end(128 + constants.signals[signal]));
  // npm runs us through a shell, which stays when npm is killed.
  const parent = process.ppid;
  const npm = process.env.npm_lifecycle_event === undefined ? undefined : parentOf(parent);
  setInterval(() => {
    if (process.ppid !== parent || (npm !== undefined && parentOf(parent) !== npm)) end(1);
  }, PARENT_CHECK_MS).unref();
}

/** Undefined for a process that is gone. Source: proc_pid_stat(5): the fourth field, behind a name in parentheses. */
function parentOf(pid) {
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").pop().split(" ")[1]);
  } catch {
    return undefined;
  }
}

module.exports = { endInOrder, start };
