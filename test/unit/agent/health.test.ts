import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { create } from "@bufbuild/protobuf";

import { openHealthRecord } from "../../../agent/health-record.ts";
import { startHealthCheck } from "../../../agent/health.ts";
import type { WorkloadHealth } from "../../../agent/health.ts";
import { parseProbe } from "../../../agent/probe.ts";
import { runProbe } from "../../../agent/run-probe.ts";
import { checkWorkloadHealth } from "../../../agent/workload-health.ts";
import type { WorkloadHealthChecks } from "../../../agent/workload-health.ts";
import type { Clock } from "../../../base/clock.ts";
import { silentLogger } from "../../../base/logger.ts";
import { HostConfigSchema } from "../../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import type { HostConfig } from "../../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { createManualClock } from "../../support/manual-clock.ts";
import { waitUntil } from "../../support/wait-until.ts";

/** A clock whose timers the test fires. */
function manualClock(): Clock & { fire(): Promise<void>; delays: number[] } {
  let next: (() => void) | undefined;
  const delays: number[] = [];
  return {
    delays,
    now: () => 0,
    elapsed: () => 0,
    after(delayMs, callback) {
      delays.push(delayMs);
      next = callback;
      return () => {
        next = undefined;
      };
    },
    async fire() {
      next?.();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

describe("health of workloads", () => {
  it("turns only after so many in a row, both ways", async () => {
    const probe = parseProbe(JSON.stringify({ initialDelaySeconds: 7, periodSeconds: 3, successThreshold: 2, failureThreshold: 2, tcpSocket: { port: 1 } }));
    assert.ok(probe.ok);
    const clock = manualClock();
    const outcomes: (string | undefined)[] = [undefined, "no", undefined, undefined, "no", "worse"];
    const seen: string[] = [];
    const check = startHealthCheck({ probe: probe.value, run: () => Promise.resolve(outcomes.shift()), onChange: ({ state, detail }) => seen.push(`${state} ${detail}`), clock });
    for (let count = 0; count < 6; count += 1) await clock.fire();
    assert.deepEqual(seen, ["healthy ", "unhealthy worse"]);
    assert.deepEqual(clock.delays.slice(0, 2), [7_000, 3_000]);
    await check.close();
  });

  it("goes on after a restart of the agent with the verdict of before, for the same probe", async () => {
    const folder = mkdtempSync(join(tmpdir(), "ironmesh-health-"));
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const clock = createManualClock();
    const configOf = (failureThreshold: number): HostConfig =>
      create(HostConfigSchema, { workloads: [{ name: "web", probe: JSON.stringify({ tcpSocket: { port }, periodSeconds: 1, failureThreshold }) }] });
    const start = async (): Promise<{ readonly checks: WorkloadHealthChecks; close(): Promise<void> }> => {
      const record = await openHealthRecord(folder, clock, silentLogger);
      const checks = checkWorkloadHealth({ contextOf: () => ({ addresses: ["127.0.0.1"] }), onChange: () => undefined, record, clock, logger: silentLogger });
      return {
        checks,
        async close() {
          await checks.close();
          await record.close();
        },
      };
    };
    const turned = (checks: WorkloadHealthChecks, state: WorkloadHealth["state"]): Promise<unknown> =>
      waitUntil(
        () => {
          clock.advance(1_000);
          return checks.get("web")?.state === state;
        },
        { what: `the workload to be ${state}`, intervalMs: 10 },
      );

    const first = await start();
    first.checks.setProbes(configOf(2));
    await turned(first.checks, "healthy");
    await new Promise((resolve) => server.close(resolve));
    await turned(first.checks, "unhealthy");
    await first.close();

    const second = await start();
    assert.equal(second.checks.get("web")?.state, "unhealthy", "before it is known which probe it has");
    second.checks.setProbes(configOf(2));
    assert.equal(second.checks.get("web")?.state, "unhealthy");
    second.checks.setProbes(configOf(3));
    assert.equal(second.checks.get("web")?.state, "unknown", "another probe has said nothing yet");
    await second.close();
    rmSync(folder, { recursive: true });
  });

  it("fills Kubernetes' defaults and refuses two kinds at once", () => {
    const probe = parseProbe('{"httpGet":{"port":8080},"timeoutSeconds":0}');
    assert.ok(probe.ok);
    assert.deepEqual([probe.value.timeoutSeconds, probe.value.periodSeconds, probe.value.failureThreshold, probe.value.httpGet?.path], [1, 10, 3, "/"]);
    assert.equal(parseProbe('{"httpGet":{"port":1},"tcpSocket":{"port":1}}').ok, false);
    assert.equal(parseProbe("{}").ok, false);
    assert.equal(parseProbe("no json").ok, false);
  });

  it("asks an application over HTTP and TCP, from the address that rules let through", async () => {
    const sources: (string | undefined)[] = [];
    const server = createServer((request, response) => {
      sources.push(request.socket.remoteAddress);
      response.writeHead(request.url === "/good" ? 204 : 500).end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const run = async (probe: object): Promise<string | undefined> => {
      const parsed = parseProbe(JSON.stringify(probe));
      assert.ok(parsed.ok);
      return runProbe(parsed.value, { addresses: ["::1", "127.0.0.1"] });
    };
    assert.equal(await run({ httpGet: { port, path: "good" } }), undefined);
    assert.equal(await run({ httpGet: { port, path: "/bad" } }), "HTTP status 500");
    assert.equal(await run({ tcpSocket: { port } }), undefined);
    assert.deepEqual(new Set(sources), new Set(["127.0.0.6"]));
    await new Promise((resolve) => server.close(resolve));
    assert.match((await run({ tcpSocket: { port } })) ?? "", /ECONNREFUSED/);
  });

  it("runs commands only where the host allows it", async () => {
    const parsed = parseProbe('{"exec":{"command":["/bin/sh","-c","echo gone >&2; exit 3"]}}');
    assert.ok(parsed.ok);
    assert.match((await runProbe(parsed.value, { addresses: [] })) ?? "", /not allowed/);
    assert.equal(await runProbe(parsed.value, { addresses: [], execUser: { uid: 65_534, gid: 65_534 } }), "the command ended with 3: gone");
  });
});
