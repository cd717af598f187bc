/** How the set-up speaks, and how it runs something that may take long. */
"use strict";

const { start } = require("./running.cjs");

const HEARTBEAT_MS = 5_000;
const KEPT_OUTPUT_BYTES = 1 << 16;

/** Something about the machine or the network; its message is all a person needs. */
class SetupError extends Error {}

/** A program that failed; `output` is what it printed, the end of it. */
class ProgramError extends SetupError {
  constructor(message, output) {
    super(`${message}:\n${indented(output)}`);
    this.output = output;
  }
}

let hasSpoken = false;

function say(message) {
  hasSpoken = true;
  console.log(`set-up: ${message}`);
}

/** True once anything was said, so that a run with nothing to do stays silent. */
function spoke() {
  return hasSpoken;
}

/**
 * Runs a program, says what it is doing now and then, and gives its output
 * (the end of it). Throws a ProgramError when it fails. `options` are those of
 * `start` in running.cjs.
 */
function runWithProgress(label, command, args, options = {}) {
  say(label);
  const startedAt = Date.now();
  const heartbeat = setInterval(() => say(`… ${label} (${Math.round((Date.now() - startedAt) / 1000)} s)`), HEARTBEAT_MS);
  return new Promise((resolve, reject) => {
    let output = "";
    const keep = (chunk) => {
      output = (output + chunk).slice(-KEPT_OUTPUT_BYTES);
    };
    const child = start(command, args, { ...options, label, stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("error", (error) => reject(new SetupError(`cannot run ${command}: ${error.message}`)));
    child.on("close", (code, signal) => {
      if (code === 0) resolve(output);
      else reject(new ProgramError(`${[command, ...args].join(" ")} failed (${signal || `exit code ${code}`})`, output));
    });
  }).finally(() => clearInterval(heartbeat));
}

function indented(text) {
  return text.trim().split("\n").slice(-30).map((line) => `    ${line}`).join("\n");
}

module.exports = { ProgramError, SetupError, runWithProgress, say, spoke };
