import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, openSync, closeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import { enrol } from "../../agent/enrol.ts";
import { CodedError } from "../../base/coded-error.ts";
import { GrpcError } from "../../base/grpc/status.ts";
import { silentLogger } from "../../base/logger.ts";
import { apiClient, type ApiClient } from "../../cli/api-client.ts";
import { ironmeshCommand } from "../../demo/daemon.ts";
import type { ConfigView, JournalView } from "../../discovery/http/api.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { waitUntil } from "../support/wait-until.ts";

const ROUNDS = 12;
/** In the private network namespace of the suite nobody else has it. */
const ADDRESS = { host: "127.0.0.1", port: 15_012 } as const;

const GROUP = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: shop}
spec: {template: {serviceAccount: web}}
`;

/** A host on its way into the mesh, with what is on its disk. */
interface Joiner {
  readonly stateDir: string;
  readonly token: string;
  /** Once the control plane has said so. */
  hostId?: string;
}

describe("the control plane, killed at any moment", function () {
  this.timeout(300_000);
  const random = seededRandom();
  let folder: string;
  let api: ApiClient;
  let running: ChildProcess | undefined;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "ironmesh-killed-"));
    const [configDir, apiSocket] = [join(folder, "config"), join(folder, "api.sock")];
    mkdirSync(configDir);
    writeFileSync(join(configDir, "mesh.yaml"), GROUP);
    writeFileSync(join(folder, "control-plane.yaml"), stringify({ configDir, stateDir: join(folder, "state"), listen: { agents: [ADDRESS], metrics: { host: "127.0.0.1", port: 0 }, apiSocket } }));
    api = apiClient(apiSocket);
  });
  afterEach(async function () {
    if (this.currentTest?.state !== "passed") console.error(`    IRONMESH_SEED=${random.seed}; the end of its log:\n${readFileSync(join(folder, "log"), "utf8").slice(-3_000)}`);
    await kill();
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const start = (): void => {
    const log = openSync(join(folder, "log"), "a");
    const [program = "", ...args] = ironmeshCommand("control-plane", "--config", join(folder, "control-plane.yaml"));
    running = spawn(program, args, { stdio: ["ignore", log, log] });
    closeSync(log);
  };
  const isRunning = (): boolean => running !== undefined && running.exitCode === null && running.signalCode === null;
  async function kill(): Promise<void> {
    if (running === undefined || !isRunning()) return;
    const ended = once(running, "exit");
    running.kill("SIGKILL");
    await ended;
  }
  const ready = async (): Promise<void> => {
    await waitUntil(async () => !isRunning() || (await api.get("/readyz")), { what: "the control plane to be ready" });
    assert.ok(isRunning(), "it ended by itself");
  };

  it("comes back with everything that it acknowledged, the same root, and no token to be used twice", async () => {
    /** Of each name: what was acknowledged last, or both possibilities while the answer is out. */
    const applied = new Map<string, "there" | "gone" | "either">();
    const joiners: Joiner[] = [];
    let names = 0;
    let root: string | undefined;

    const apply = async (): Promise<void> => {
      const name = `entry-${(names += 1)}`;
      applied.set(name, "either");
      const text = stringify({ apiVersion: "networking.istio.io/v1", kind: "ServiceEntry", metadata: { name, namespace: "shop" }, spec: { hosts: [`${name}.example`], ports: [{ number: 80, name: "http", protocol: "HTTP" }], resolution: "NONE" } });
      const answer = await api.send("PUT", "/api/v1/config", { type: "application/yaml", text });
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      applied.set(name, "there");
    };
    const remove = async (): Promise<void> => {
      const name = random.pick([...applied].filter(([, state]) => state === "there").map(([entry]) => entry));
      // Nothing there yet; without a pause nobody else would have a turn.
      if (name === undefined) {
        await sleep(1);
        return;
      }
      applied.set(name, "either");
      const answer = await api.send("DELETE", `/api/v1/config/ServiceEntry/shop/${name}`);
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      applied.set(name, "gone");
    };
    const newToken = async (): Promise<string> => ((await api.send("POST", "/api/v1/tokens", { type: "application/json", text: JSON.stringify({ groups: ["shop/web"] }) })).body as { token: string }).token;
    /** With the key on its disk: an answer that was lost is asked for again. */
    const letIn = async (joiner: Joiner): Promise<void> => {
      const { hostId } = await enrol({ stateDir: joiner.stateDir, controlPlane: [ADDRESS], hostName: "vm", environment: { IRONMESH_TOKEN: joiner.token }, logger: silentLogger });
      joiner.hostId ??= hostId;
      assert.equal(hostId, joiner.hostId);
    };
    const enter = async (): Promise<void> => {
      const joiner: Joiner = { stateDir: emptyDir(folder), token: await newToken() };
      joiners.push(joiner);
      await letIn(joiner);
    };
    const work = async (one: () => Promise<void>): Promise<void> => {
      while (isRunning()) {
        try {
          await one();
        } catch (failure) {
          if (!isLost(failure)) throw failure;
        }
      }
    };

    for (let round = 0; round < ROUNDS; round += 1) {
      start();
      if (random.between(0, 3) === 0) {
        await sleep(random.between(0, 1_200));
        await kill();
        start();
      }
      await ready();

      const config = (await api.get("/api/v1/config")) as ConfigView[];
      const there = new Map(config.map(({ name, state }) => [name, state]));
      for (const [name, state] of applied) {
        if (state !== "either") assert.equal(there.get(name), state === "there" ? "accepted" : undefined, `${name} in round ${round}`);
        else applied.set(name, there.has(name) ? "there" : "gone");
      }
      root ??= rootOf(await newToken());
      assert.equal(rootOf(await newToken()), root, `the root in round ${round}`);
      for (const joiner of joiners) if (joiner.hostId === undefined) await letIn(joiner);
      const last = joiners.at(-1);
      if (last !== undefined) await assert.rejects(letIn({ ...last, stateDir: emptyDir(folder) }), { message: /MESH_TOKEN_USED/ });
      const { entries, problems } = (await api.get("/api/v1/journal?last=100000")) as JournalView;
      assert.deepEqual(problems, []);
      const joined = entries.filter(({ type }) => type === "host-joined");
      assert.deepEqual(joined.map(({ facts }) => String(facts["hostId"])).toSorted(), joiners.map(({ hostId = "" }) => hostId).toSorted(), `the hosts in round ${round}`);
      assert.equal(new Set(joined.map(({ facts }) => facts["tokenId"])).size, joined.length, `a token made two hosts by round ${round}`);

      const working = Promise.all([work(apply), work(apply), work(remove), work(enter), work(enter)]);
      await Promise.race([sleep(random.between(5, 500)), working]);
      await kill();
      await working;
    }
    assert.ok(joiners.length >= ROUNDS && names >= ROUNDS, `only ${joiners.length} hosts and ${names} resources were in play`);
  });
});

/** The control plane is gone: nothing is known of what was asked. Any other failure is one. */
function isLost(failure: unknown): boolean {
  if (failure instanceof GrpcError) return failure.status === "UNAVAILABLE" || failure.status === "CANCELLED";
  return failure instanceof CodedError && ["MESH_API_UNREACHABLE", "MESH_CONNECT_FAILED"].includes(failure.code);
}

function rootOf(token: string): string {
  return token.split(".")[3] ?? "";
}

function emptyDir(folder: string): string {
  return mkdtempSync(join(folder, "host-"));
}
