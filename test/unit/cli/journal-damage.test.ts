import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../../../base/logger.ts";
import { apiClient } from "../../../cli/api-client.ts";
import { type BoundControlPlane, startControlPlane } from "../../../cli/control-plane/app.ts";
import { controlPlaneSchema } from "../../../cli/control-plane/config.ts";
import type { JournalView } from "../../../discovery/http/api.ts";
import { openSqliteStore } from "../../../store/sqlite.ts";
import { waitUntil } from "../../support/wait-until.ts";

const ENTRIES = "ca/journal/control-plane-1/";
const HEAD = "ca/journal-heads/control-plane-1";

describe("a control plane whose journal was cut while it was down", () => {
  let folder: string;
  let control: BoundControlPlane | undefined;
  let log: string[];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "ironmesh-damage-"));
    mkdirSync(join(folder, "control"), { mode: 0o700 });
    log = [];
  });
  afterEach(async () => {
    await stop();
    rmSync(folder, { recursive: true });
  });

  async function start(): Promise<void> {
    const logger = { ...silentLogger, error: (facts: unknown, message?: string) => void log.push(`${message ?? ""} ${JSON.stringify(facts)}`), child: () => logger };
    const listen = { agents: [{ host: "127.0.0.1", port: 0 }], metrics: { host: "127.0.0.1", port: 0 }, apiSocket: join(folder, "api.sock") };
    control = await startControlPlane(controlPlaneSchema.parse({ stateDir: join(folder, "control"), listen }), logger);
  }
  async function stop(): Promise<void> {
    await control?.close();
    control = undefined;
  }
  const readiness = async (): Promise<unknown> => {
    const response = await fetch(`http://127.0.0.1:${control?.metricsPort}/readyz`);
    return [response.status, ((await response.json()) as { openTasks: string[] }).openTasks];
  };

  it("goes on, and says so in its API and its log", async () => {
    const api = apiClient(join(folder, "api.sock"));
    const createToken = async (): Promise<unknown> => api.send("POST", "/api/v1/tokens", { type: "application/json", text: JSON.stringify({ groups: ["shop/web"] }) });
    await start();
    await waitUntil(async () => JSON.stringify(await readiness()) === "[200,[]]", { what: "it to be ready" });
    await stop();
    const store = await openSqliteStore({ path: join(folder, "control", "state.db") });
    const [head, entries] = [await store.get(HEAD), (await store.list(ENTRIES)).items];
    await store.close();
    assert.ok(head);

    await start();
    await createToken();
    const before = (await api.get("/api/v1/journal")) as JournalView;
    assert.deepEqual([before.problems, before.entries.at(-1)?.type], [[], "token-created"]);
    await stop();
    const cut = await openSqliteStore({ path: join(folder, "control", "state.db") });
    const newer = (await cut.list(ENTRIES)).items.slice(entries.length);
    assert.ok(newer.length > 0);
    await cut.txn([], [...newer.map(({ key }) => ({ type: "delete" as const, key })), { type: "put", key: HEAD, value: head.value }]);
    await cut.close();

    await start();
    await waitUntil(() => log.some((line) => line.startsWith("the journal is damaged")), { what: "the log" });
    const after = (await api.get("/api/v1/journal")) as JournalView;
    assert.match(after.problems.join(), new RegExp(`^control-plane-1: entries ${entries.length + 1} to ${entries.length + newer.length} were written and are gone \\(found at [^)]*\\)$`));
    // It serves as well as ever: an auditor must look, no load balancer.
    assert.deepEqual(await readiness(), [200, []]);
    assert.deepEqual(((await createToken()) as { status: number }).status, 200);
  });
});
