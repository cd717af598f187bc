import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

import type { EnvoyProcess } from "../../agent/envoy-process.ts";
import { isRunning, processStart } from "../../agent/running-envoy.ts";
import { serveGrpc } from "../../base/grpc/server.ts";
import type { BoundGrpcServer } from "../../base/grpc/server.ts";
import { silentLogger } from "../../base/logger.ts";
import { waitUntil } from "../support/wait-until.ts";
import { startTestEnvoy, temporaryDir } from "./agent-holder.ts";

/** A control plane that knows nothing: it answers each subscription's first request with an empty response. */
async function serveNothing(path: string): Promise<{ readonly server: BoundGrpcServer; streams(): number }> {
  let streams = 0;
  const server = await serveGrpc({
    listen: { path },
    logger: silentLogger,
    handlers: {
      "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources": {
        kind: "stream",
        async handle(stream) {
          streams += 1;
          const seen = new Set<string>();
          for await (const message of stream.messages) {
            const type = /type\.googleapis\.com\/[\w.]+/.exec(Buffer.from(message).toString("latin1"))?.[0];
            if (type === undefined || seen.has(type)) continue;
            seen.add(type);
            // DeltaDiscoveryResponse { type_url = 4, nonce = 5 }
            const text = Buffer.from(type);
            await stream.write(Buffer.concat([Buffer.from([0x22, text.length]), text, Buffer.from([0x2a, 1, 0x31])]));
          }
        },
      },
    },
  });
  return { server, streams: () => streams };
}

describe("the agent's Envoy (real)", function () {
  this.timeout(120_000);
  let directory: ReturnType<typeof temporaryDir>;
  let control: Awaited<ReturnType<typeof serveNothing>>;
  let envoy: EnvoyProcess | undefined;

  beforeEach(async () => {
    directory = temporaryDir();
    control = await serveNothing(join(directory.path, "xds.sock"));
  });
  afterEach(async () => {
    await envoy?.close();
    envoy = undefined;
    await control.server.close(0);
    directory.remove();
  });

  const ready = async (): Promise<number> => {
    await waitUntil(() => envoy?.status().phase === "ready", { what: `envoy to be ready, it is ${JSON.stringify(envoy?.status())}` });
    return envoy?.status().pid ?? 0;
  };

  it("starts, answers on a private admin socket only, and ends when told", async () => {
    envoy = await startTestEnvoy(directory.path);
    const pid = await ready();
    const socket = readdirSync(join(directory.path, "envoy")).find((name) => name.endsWith(".sock")) ?? "";
    assert.equal(statSync(join(directory.path, "envoy", socket)).mode & 0o777, 0o600);
    assert.match(await envoy.admin().get("/server_info"), /"1\.40|\/1\.40/);
    assert.equal(await envoy.admin().stat("control_plane.connected_state"), 1);
    const startedAt = (await processStart(pid)) ?? "";
    await envoy.close();
    assert.equal(await isRunning({ pid, startedAt }), false);
    envoy = undefined;
  });

  it("starts it again when it dies, and says what it said last", async () => {
    envoy = await startTestEnvoy(directory.path);
    const pid = await ready();
    process.kill(pid, "SIGKILL");
    await waitUntil(() => envoy?.status().phase === "restarting", { what: "the death to be noticed" });
    assert.notEqual(envoy.status().lastOutput.length, 0);
    assert.notEqual(await ready(), pid);
    assert.equal(envoy.status().restarts, 1);
  });

  it("keeps trying where Envoy cannot live", async () => {
    envoy = await startTestEnvoy(directory.path, { binary: { path: "/bin/false", version: "1.40.0" } });
    await waitUntil(() => (envoy?.status().restarts ?? 0) >= 2, { what: "two restarts" });
  });

  it("adopts the Envoy of an agent that was killed, which served on and is heard again", async () => {
    const agent = spawn(process.execPath, [join(import.meta.dirname, "agent-holder.ts"), directory.path], { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    agent.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const status = await waitUntil(() => output.split("\n").find((line) => line.includes('"ready"')), { what: "the first agent's envoy to be ready" });
    const { pid } = JSON.parse(status ?? "{}") as { pid: number };
    const startedAt = (await processStart(pid)) ?? "";
    agent.kill("SIGKILL");
    await waitUntil(() => agent.signalCode === "SIGKILL", { what: "the agent to be gone" });
    assert.ok(await isRunning({ pid, startedAt }), "envoy went down with its agent");

    // Writes to a pipe that nobody reads must not kill it either.
    const lines: string[] = [];
    envoy = await startTestEnvoy(directory.path, {
      logger: { ...silentLogger, warn: (facts: unknown, text?: string) => void lines.push(text ?? String(facts)) },
    });
    assert.deepEqual([envoy.status().phase, envoy.status().pid], ["ready", pid], "known before anybody is told about this host");
    assert.equal(envoy.status().adopted, true);
    await waitUntil(
      async () => {
        await envoy?.admin().get("/server_info");
        return control.streams() >= 1;
      },
      { what: "its stream" },
    );
    // A warning on standard error: proof that the new agent hears the old Envoy.
    await control.server.close(0);
    await waitUntil(() => lines.some((line) => line.includes("DeltaAggregatedResources gRPC config stream")), { what: "a line of the adopted envoy" });
    control = await serveNothing(join(directory.path, "xds.sock"));
    await waitUntil(() => control.streams() >= 1, { what: "the adopted envoy to come back to the agent's socket by itself" });
    assert.equal(envoy.status().pid, pid);
  });

  it("replaces one with another bootstrap, and drains it only when the new one is ready", async () => {
    const first = await startTestEnvoy(directory.path);
    envoy = first;
    const pid = await ready();
    const startedAt = (await processStart(pid)) ?? "";
    await first.release();
    assert.ok(await isRunning({ pid, startedAt }));
    envoy = await startTestEnvoy(directory.path, { concurrency: 2 });
    assert.notEqual(await ready(), pid);
    await waitUntil(async () => !(await isRunning({ pid, startedAt })), { what: "the old one to be stopped" });
    assert.equal(existsSync(join(directory.path, "envoy", "admin-2.sock")), true);
  });
});
