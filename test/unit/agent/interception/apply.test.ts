import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { applyCapture, applyCaptureWithConfirm, readCaptureStatus, revertCapture } from "../../../../agent/interception/apply.ts";
import type { CaptureTarget } from "../../../../agent/interception/apply.ts";
import type { CommandResult, CommandRunner } from "../../../../agent/interception/command-runner.ts";
import { detectBackend } from "../../../../agent/interception/host-facts.ts";
import { planCapture } from "../../../../agent/interception/plan.ts";

const planned = planCapture({
  proxyUid: 900,
  inboundListenerPort: 15_006,
  outbound: [{ workload: "one", match: { uids: [1001] }, outboundPort: 15_101 }],
  inbound: [{ workload: "one", port: 8080, failClosed: true }],
  outboundScope: "all",
  exclusions: { ports: [], cidrs: [] },
  vips: { v4: ["240.240.0.0/16"], v6: [] },
  managementPorts: [],
});
assert.ok(planned.ok);
const PLAN = planned.value;

/** Answers as told by the start of the command line; anything else succeeds and prints nothing. */
function fakeRunner(answers: Readonly<Record<string, Partial<CommandResult>>> = {}): CommandRunner & { readonly log: string[]; onCommand: (line: string) => void } {
  const log: string[] = [];
  const runner = {
    log,
    onCommand: (_line: string): void => {},
    run(command: string, args: readonly string[]) {
      const line = [command, ...args].join(" ");
      log.push(line);
      runner.onCommand(line);
      const [, answer] = Object.entries(answers).find(([start]) => line.startsWith(start)) ?? [];
      return Promise.resolve({ code: 0, stdout: "", stderr: "", ...answer });
    },
    startDetached(command: string, args: readonly string[]) {
      log.push(["detached", command, ...args].join(" "));
      return 0;
    },
  };
  return runner;
}

describe("applying interception", () => {
  let folder = "";
  const hostAnswers = {
    "cat /proc/sys/net/ipv6/conf/lo/disable_ipv6": { stdout: "0\n" },
    "ip -4 route get": { code: 2, stderr: "RTNETLINK answers: Network is unreachable" },
  };
  const targetOf = (runner: CommandRunner, changes: Partial<CaptureTarget> = {}): CaptureTarget => ({ runner, backend: "nft", reverter: "process", recordPath: join(folder, "capture.json"), ...changes });

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-apply-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it("writes down what it will own before it changes anything, for its eyes only", async () => {
    const runner = fakeRunner(hostAnswers);
    const target = targetOf(runner);
    runner.onCommand = (line) => {
      if (/^nft -f| replace /.test(line)) assert.ok(existsSync(target.recordPath), line);
    };
    await applyCapture(target, PLAN);
    const record = await readCaptureStatus(target);
    assert.deepEqual(record?.owned, { routes: ["240.240.0.0/16"], addresses: ["::6/128"] });
    assert.equal((await stat(target.recordPath)).mode & 0o777, 0o600);
    const changes = runner.log.filter((line) => /replace|nft -f/.test(line));
    assert.match(changes.at(-1) ?? "", /^nft -f -/, "routes and addresses come before the rules that rely on them");
  });

  it("owns no route where the host has one", async () => {
    const runner = fakeRunner({ ...hostAnswers, "ip -4 route get": { code: 0, stdout: "240.240.0.0 via 10.0.0.254" } });
    const target = targetOf(runner);
    await applyCapture(target, PLAN);
    await revertCapture(target, { guard: "remove", drainTimeoutMs: 0 });
    assert.deepEqual(runner.log.filter((line) => /route (replace|del)/.test(line)), []);
    assert.equal(await readCaptureStatus(target), undefined);
  });

  it("leaves IPv6 alone where it is disabled", async () => {
    const runner = fakeRunner({ ...hostAnswers, "cat /proc/sys/net/ipv6/conf/lo/disable_ipv6": { stdout: "1\n" }, "ip6tables-save": { code: 1 } });
    await applyCapture(targetOf(runner, { backend: "iptables" }), PLAN);
    assert.deepEqual(runner.log.filter((line) => /^ip6tables-restore|^ip -6/.test(line)), []);
    assert.equal(runner.log.filter((line) => line.startsWith("iptables-restore --noflush")).length, 1);
  });

  it("closes ports over IPv6 too where only the loopback device has none", async () => {
    const runner = fakeRunner({ ...hostAnswers, "cat /proc/sys/net/ipv6/conf/lo/disable_ipv6": { stdout: "1\n" } });
    await applyCapture(targetOf(runner, { backend: "iptables" }), PLAN);
    assert.equal(runner.log.filter((line) => line.startsWith("ip6tables-restore --noflush")).length, 1);
    assert.deepEqual(runner.log.filter((line) => line.startsWith("ip -6")), []);
  });

  it("keeps the back end that it replaces on record until its rules are gone", async () => {
    const runner = fakeRunner(hostAnswers);
    await applyCapture(targetOf(runner), PLAN);
    const broken = fakeRunner({ ...hostAnswers, "nft -f": { code: 1, stderr: "Error: busy\n" } });
    await assert.rejects(applyCapture(targetOf(broken, { backend: "iptables" }), PLAN), { code: "MESH_CAPTURE_COMMAND_FAILED" });
    const between = await readCaptureStatus(targetOf(runner));
    assert.deepEqual([between?.backend, between?.replaced?.backend], ["iptables", "nft"]);
    const mended = fakeRunner(hostAnswers);
    await applyCapture(targetOf(mended, { backend: "iptables" }), PLAN);
    assert.ok(mended.log.includes("nft -f -"));
    const after = await readCaptureStatus(targetOf(runner));
    assert.deepEqual([after?.backend, after?.replaced], ["iptables", undefined]);
  });

  it("stays with the back end that is in force where another one does not work", async () => {
    const runner = fakeRunner(hostAnswers);
    await applyCapture(targetOf(runner), PLAN);
    const broken = fakeRunner({ ...hostAnswers, "ip6tables-restore --noflush": { code: 1, stderr: "ip6tables-restore: line 9 failed\n" } });
    await assert.rejects(applyCapture(targetOf(broken, { backend: "iptables" }), PLAN), { code: /MESH_CAPTURE_(COMMAND|RESTORE)_FAILED/ });
    assert.equal((await readCaptureStatus(targetOf(runner)))?.backend, "nft");
  });

  it("says what the kernel's tool said, and the likely cause", async () => {
    const runner = fakeRunner({ ...hostAnswers, "nft -f": { code: 1, stderr: "Error: Could not process rule: Operation not permitted\n" } });
    await assert.rejects(applyCapture(targetOf(runner), PLAN), { code: "MESH_CAPTURE_RESTORE_FAILED", message: /Operation not permitted/, hint: /CAP_NET_ADMIN/ });
  });

  it("starts systemd's timer before a change that needs confirmation, and stops it after", async () => {
    const runner = fakeRunner(hostAnswers);
    const target = targetOf(runner, { reverter: "systemd" });
    const outcome = await applyCaptureWithConfirm(target, PLAN, { confirm: () => Promise.resolve(true), timeoutMs: 10_000, drainTimeoutMs: 5000 });
    assert.equal(outcome, "confirmed");
    const steps = runner.log.filter((line) => /^systemd-run|^systemctl stop|^nft -f/.test(line)).map((line) => line.split(" ").slice(0, 2).join(" "));
    assert.deepEqual(steps, ["systemctl stop", "systemd-run --unit", "nft -f", "systemctl stop"]);
    assert.match(runner.log.find((line) => line.startsWith("systemd-run")) ?? "", /--on-active 12\.0s/);
    assert.deepEqual((await readCaptureStatus(target))?.confirmed, PLAN);
  });

  it("changes nothing when the timer cannot be started", async () => {
    const runner = fakeRunner({ ...hostAnswers, "systemd-run": { code: 1, stderr: "Access denied" } });
    const target = targetOf(runner, { reverter: "systemd" });
    await assert.rejects(applyCaptureWithConfirm(target, PLAN, { confirm: () => Promise.resolve(true), timeoutMs: 10_000, drainTimeoutMs: 0 }), { code: "MESH_CAPTURE_NO_REVERTER" });
    assert.deepEqual(runner.log.filter((line) => /^nft -f|replace/.test(line)), []);
    assert.equal(await readCaptureStatus(target), undefined);
  });

  it("writes a script for the reverter that undoes routes, addresses and rules", async () => {
    const runner = fakeRunner(hostAnswers);
    const target = targetOf(runner);
    let script = "";
    await applyCaptureWithConfirm(target, PLAN, {
      confirm: async () => {
        script = await readFile(join(folder, "capture-reverter", "revert.sh"), "utf8");
        return true;
      },
      timeoutMs: 10_000,
      drainTimeoutMs: 5000,
    });
    assert.match(script, /mv pending reverting/);
    assert.match(script, /sleep 5\.0/);
    assert.match(script, /'ip' '-4' 'route' 'del' 'local' '240\.240\.0\.0\/16'/);
    assert.match(script, /'ip' '-6' 'address' 'del' '::6\/128'/);
    assert.ok(!existsSync(join(folder, "capture-reverter")), "it is gone once confirmed");
  });

  it("refuses to guess what a damaged record meant", async () => {
    const target = targetOf(fakeRunner(hostAnswers));
    await writeFile(target.recordPath, "{");
    await assert.rejects(applyCapture(target, PLAN), { code: "MESH_CAPTURE_RECORD_UNREADABLE" });
  });

  it("takes nft where it works, else iptables, else says so", async () => {
    assert.equal(await detectBackend(fakeRunner()), "nft");
    assert.equal(await detectBackend(fakeRunner({ "nft list": { code: 127 } })), "iptables");
    await assert.rejects(detectBackend(fakeRunner({ "nft list": { code: 127 }, "iptables-save": { code: 127 } })), { code: "MESH_CAPTURE_NO_BACKEND" });
  });
});
