import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "mocha";
import { waitUntil } from "../../support/wait-until.ts";

const RUNNING = join(import.meta.dirname, "..", "..", "..", "setup", "running.cjs");

/** Says when it has started, and leaves a file only when it was let finish. */
const program = (seconds: number): string => `echo $$ > started.new; mv started.new started; sleep ${seconds}; echo whole > finished`;
const LONG = 60;

describe("what the set-up runs", () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "ironmesh-setup-"));
  });

  afterEach(() => rmSync(folder, { recursive: true }));

  function source(seconds: number, mustFinish: boolean): string {
    return `
      const { endInOrder, start } = require(${JSON.stringify(RUNNING)});
      endInOrder();
      start("sh", ["-c", ${JSON.stringify(program(seconds))}], { label: "a program", mustFinish: ${mustFinish}, stdio: "ignore" });
      // As the set-up, which goes on when a program has ended: it must not end by itself before it has seen the signal.
      setInterval(() => {}, 60_000);
    `;
  }

  /** A set-up in a process group of its own, like a command that was typed. */
  function setUp(seconds: number, { mustFinish = false } = {}): ChildProcess {
    return spawn(process.execPath, ["-e", source(seconds, mustFinish)], { cwd: folder, detached: true, stdio: "ignore" });
  }

  async function started(): Promise<number> {
    await waitUntil(() => existsSync(join(folder, "started")), { what: "the program to start" });
    return Number(readFileSync(join(folder, "started"), "utf8"));
  }

  async function isGone(pid: number): Promise<void> {
    await waitUntil(() => !existsSync(`/proc/${pid}`), { what: "the program to be gone" });
  }

  it("ends with it on Ctrl-C", async () => {
    const setup = setUp(LONG);
    const running = await started();
    process.kill(-(setup.pid ?? 0), "SIGINT");
    assert.deepEqual(await once(setup, "close"), [130, null]);
    await isGone(running);
    assert.equal(existsSync(join(folder, "finished")), false);
  });

  it("ends with it when the set-up alone is told to", async () => {
    const setup = setUp(LONG);
    const running = await started();
    setup.kill("SIGTERM");
    assert.deepEqual(await once(setup, "close"), [143, null]);
    await isGone(running);
    assert.equal(existsSync(join(folder, "finished")), false);
  });

  it("is let finish on Ctrl-C where it must not be cut short, and the set-up ends after it", async () => {
    const setup = setUp(1, { mustFinish: true });
    await started();
    process.kill(-(setup.pid ?? 0), "SIGINT");
    assert.deepEqual(await once(setup, "close"), [130, null]);
    assert.equal(readFileSync(join(folder, "finished"), "utf8"), "whole\n");
  });

  it("does not outlive a set-up that was killed", async () => {
    const setup = setUp(LONG);
    const running = await started();
    setup.kill("SIGKILL");
    await isGone(running);
  });

  it("ends when who started the set-up is gone, though a shell between them stays", async () => {
    const inShell = '"$0" -e "$1"; true';
    const shell = spawn("sh", ["-c", inShell, process.execPath, source(LONG, false)], { cwd: folder, stdio: "ignore" });
    let running = await started();
    shell.kill("SIGKILL");
    await isGone(running);

    rmSync(join(folder, "started"));
    const npm = spawn("sh", ["-c", 'sh -c "$0" "$1" "$2"; true', inShell, process.execPath, source(LONG, false)], {
      cwd: folder,
      stdio: "ignore",
      env: { ...process.env, npm_lifecycle_event: "predemo" },
    });
    running = await started();
    npm.kill("SIGKILL");
    await isGone(running);
  });
});
