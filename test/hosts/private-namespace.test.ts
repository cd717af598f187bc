import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "mocha";
import { runInPrivateNamespace } from "../support/private-namespace.ts";
import { waitUntil } from "../support/wait-until.ts";

const support = join(import.meta.dirname, "..", "support", "private-namespace.ts");

/** The processes whose command line has this word as an argument. */
function processesWith(word: string): readonly string[] {
  return readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && commandLine(pid).includes(word));
}

function commandLine(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

describe("private namespace", () => {
  it("hands on the exit code, and is a network and process tree of its own", async () => {
    assert.deepEqual(await runInPrivateNamespace("sh", ["-c", "exit 7"]), { code: 7, signal: null });
    const script = 'test "$$" = 1 && test "$(readlink /proc/self/ns/net)" != "$1" && ip -oneline link show lo | grep -q LOOPBACK,UP';
    const ours = readlinkSync("/proc/self/ns/net");
    assert.deepEqual(await runInPrivateNamespace("sh", ["-c", script, "sh", ours]), { code: 0, signal: null });
  });

  it("hides named namespaces made inside from the outside", async () => {
    const name = `inside-${process.pid}`;
    assert.equal((await runInPrivateNamespace("ip", ["netns", "add", name])).code, 0);
    assert.equal(existsSync(`/run/netns/${name}`), false);
  });

  it("ends everything inside when the process outside is killed", async () => {
    const seconds = `98765.${process.pid}`;
    const daemon = `setsid sleep ${seconds} & exec sleep ${seconds}`;
    const program = `import { runInPrivateNamespace } from ${JSON.stringify(support)}; await runInPrivateNamespace("sh", ["-c", ${JSON.stringify(daemon)}]);`;
    const outside = spawn(process.execPath, ["--input-type=module", "--eval", program], { stdio: "ignore" });
    await waitUntil(() => processesWith(seconds).length === 2, { what: "both processes to run inside" });
    outside.kill("SIGKILL");
    await waitUntil(() => processesWith(seconds).length === 0, { what: "the processes inside to be gone" });
  });

  it("ends a script of npm when npm is killed, whose shell lives on", async () => {
    const word = `98766.${process.pid}`;
    const program = `import { endWithParent } from ${JSON.stringify(support)}; endWithParent(); process.title = "${word}"; setInterval(() => {}, 1_000);`;
    const script = `"${process.execPath}" --input-type=module --eval '${program}'; exit`;
    const npm = spawn(process.execPath, ["--eval", `require("node:child_process").spawn("sh", ["-c", process.argv[1]])`, script], {
      stdio: "ignore",
      env: { ...process.env, npm_lifecycle_event: "demo" },
    });
    await waitUntil(() => processesWith(word).length === 1, { what: "the script to run" });
    npm.kill("SIGKILL");
    await waitUntil(() => processesWith(word).length === 0, { what: "the script to be gone" });
  });
});
