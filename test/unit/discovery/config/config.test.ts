import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseDocuments } from "../../../../api/document.ts";
import type { CodedError } from "../../../../base/coded-error.ts";
import { TaskGroup } from "../../../../base/task-group.ts";
import { type Config, startConfig } from "../../../../discovery/config/config.ts";
import { type ConfigFiles, watchConfigFiles } from "../../../../discovery/config/files.ts";
import { createLastGood } from "../../../../discovery/config/last-good.ts";
import { applyDocuments, removeStored, watchStoredConfig } from "../../../../discovery/config/store.ts";
import type { KeyValueStore } from "../../../../store/key-value.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import { waitUntil } from "../../../support/wait-until.ts";

function entry(name: string, address = "192.0.2.1"): string {
  return `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}}\nspec: {address: ${address}}\n`;
}

const parse = (text: string): ReturnType<typeof parseDocuments> => parseDocuments(text, "applied.yaml", "store");

interface Running {
  readonly config: Config;
  readonly files: ConfigFiles;
  close(): Promise<void>;
}

describe("configuration", () => {
  let directory: string;
  let store: KeyValueStore;
  let problems: (CodedError | undefined)[];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "ironmesh-config-"));
    store = createMemoryStore();
    problems = [];
  });

  afterEach(async () => {
    await chmod(directory, 0o700).catch(() => undefined);
    await rm(directory, { recursive: true, force: true });
    await store.close();
  });

  async function start(): Promise<Running> {
    const tasks = new TaskGroup();
    const lastGood = tasks.own(createLastGood({ store }));
    const files = tasks.own(await watchConfigFiles({ directory, debounceMs: 20, onProblem: (problem) => problems.push(problem) }));
    const stored = tasks.own(await watchStoredConfig({ store }));
    const config = tasks.own(await startConfig({ sources: [files, stored], lastGood }));
    return { config, files, close: () => tasks.close() };
  }

  const write = (name: string, text: string): Promise<void> => writeFile(join(directory, name), text);
  const keys = ({ config }: Running): string[] => [...config.resources.entries().keys()].map((key) => key.replace("WorkloadEntry/default/", "")).sort();
  const addressOf = ({ config }: Running, name: string): unknown => {
    const resource = config.resources.get(`WorkloadEntry/default/${name}`);
    return resource?.kind === "WorkloadEntry" ? resource.spec.address : undefined;
  };

  it("follows files as they are written, renamed over, moved into folders and deleted", async () => {
    await write("a.yaml", entry("a"));
    const running = await start();
    try {
      assert.deepEqual(keys(running), ["a"]);
      await mkdir(join(directory, "team"));
      await write("team/b.yml", entry("b"));
      await waitUntil(() => keys(running).join() === "a,b", { what: "the new file" });
      await write("next.tmp", entry("a", "192.0.2.7"));
      await rename(join(directory, "next.tmp"), join(directory, "a.yaml"));
      await waitUntil(() => addressOf(running, "a") === "192.0.2.7", { what: "the file renamed over" });
      await rm(join(directory, "team"), { recursive: true });
      await waitUntil(() => keys(running).join() === "a", { what: "the removal" });
    } finally {
      await running.close();
    }
  });

  it("reads links to files, and not what editors leave or hidden folders hold", async () => {
    await mkdir(join(directory, "..data"));
    await write("..data/x.yaml", entry("linked"));
    await symlink("..data/x.yaml", join(directory, "x.yaml"));
    for (const name of [".a.yaml.swp", ".hidden.yaml", "#a.yaml#", "a.yaml~", "notes.txt", "~a.yaml"]) await write(name, entry("wrong"));
    const running = await start();
    assert.deepEqual(keys(running), ["linked"]);
    await running.close();
  });

  it("keeps the last good value over a broken file, also over a restart", async () => {
    await write("a.yaml", entry("a"));
    await (await start()).close();
    await write("a.yaml", "kind: [");
    const running = await start();
    try {
      assert.deepEqual(keys(running), ["a"]);
      assert.equal(running.config.statuses.get("WorkloadEntry/default/a")?.state, "rejected");
      await write("a.yaml", entry("a", "192.0.2.3"));
      await waitUntil(() => addressOf(running, "a") === "192.0.2.3", { what: "the corrected file" });
      assert.equal(running.config.statuses.entries().size, 1);
      await write("a.yaml", entry("b"));
      await waitUntil(() => keys(running).join() === "b", { what: "the removed document" });
    } finally {
      await running.close();
    }
    const { items } = await store.list("config/last-good/");
    assert.deepEqual(items.map(({ key }) => key), ["config/last-good/WorkloadEntry/default/b"]);
  });

  it("takes nothing back from the store that it would not accept today", async () => {
    const bad = JSON.stringify({ document: { apiVersion: "networking.istio.io/v1", kind: "WorkloadEntry", metadata: { name: "a" }, spec: {} }, position: { file: "a", line: 1, column: 1 }, origin: "files" });
    const values = ["{", "null", JSON.stringify({ resource: bad, unit: "files:a.yaml", acceptedAtMs: 1 })];
    await store.txn([], values.map((value, index) => ({ type: "put", key: `config/last-good/WorkloadEntry/default/${index}`, value })));
    assert.equal((await createLastGood({ store }).load()).size, 0);
  });

  it("changes nothing when the directory goes away, says so, and goes on when it is back", async () => {
    await write("a.yaml", entry("a"));
    const running = await start();
    try {
      await rename(directory, `${directory}.away`);
      await assert.rejects(running.files.rescan());
      assert.deepEqual(keys(running), ["a"]);
      await waitUntil(() => problems.some((problem) => problem?.code === "MESH_CONFIG_DIRECTORY"), { what: "the report" });
      await rename(`${directory}.away`, directory);
      await running.files.rescan();
      assert.deepEqual(keys(running), ["a"]);
    } finally {
      await running.close();
    }
    await rm(directory, { recursive: true });
    await assert.rejects(start(), { code: "MESH_CONFIG_DIRECTORY" });
    await mkdir(directory);
  });

  it("follows what is applied and deleted; a file wins", async () => {
    await write("a.yaml", entry("a"));
    const running = await start();
    try {
      const applied = await applyDocuments(store, parse(`${entry("a", "192.0.2.9")}---\n${entry("b")}`));
      assert.equal(applied.stored, true);
      await waitUntil(() => keys(running).join() === "a,b", { what: "the applied resource" });
      assert.equal(addressOf(running, "a"), "192.0.2.1");
      const status = running.config.statuses.get("WorkloadEntry/default/a");
      assert.deepEqual([status?.state, status?.issues.map(({ code }) => code)], ["conflict", ["IM0201"]]);
      await rm(join(directory, "a.yaml"));
      await waitUntil(() => addressOf(running, "a") === "192.0.2.9", { what: "the applied one to take over" });
      assert.equal(await removeStored(store, "WorkloadEntry/default/a"), true);
      assert.equal(await removeStored(store, "WorkloadEntry/default/a"), false);
      await waitUntil(() => keys(running).join() === "b", { what: "the deletion" });
    } finally {
      await running.close();
    }
  });

  it("stores nothing of an apply with an error in it", async () => {
    for (const text of [`${entry("a")}---\n${entry("b", "nowhere..")}`, `${entry("a")}---\n${entry("a")}`, ""]) {
      assert.equal((await applyDocuments(store, parse(text))).stored, false);
    }
    assert.deepEqual((await store.list("")).items, []);
  });

  it("stores more than fits into one transaction", async () => {
    const text = Array.from({ length: 300 }, (_, index) => entry(`e${index}`)).join("---\n");
    assert.equal((await applyDocuments(store, parse(text))).stored, true);
    const running = await start();
    assert.equal(keys(running).length, 300);
    await running.close();
    assert.equal((await store.list("config/last-good/")).items.length, 300);
  });

  it("shows what the analysis found, and forgets it with the next one", async () => {
    await write("a.yaml", entry("a"));
    const running = await start();
    const state = (): unknown => running.config.statuses.get("WorkloadEntry/default/a")?.state;
    running.config.setFindings(new Map([["WorkloadEntry/default/a", [{ code: "IM0210", severity: "warning", message: "x", path: "" }]]]));
    assert.equal(state(), "warning");
    running.config.setFindings(new Map());
    assert.equal(state(), "accepted");
    await running.close();
  });

  it("writes the last good down after a store that failed for a while", async () => {
    let isFailing = true;
    const flaky: KeyValueStore = { ...store, txn: (...request) => (isFailing ? Promise.reject(new Error("disk full")) : store.txn(...request)) };
    const failures: unknown[] = [];
    const lastGood = createLastGood({ store: flaky, onProblem: (failure) => failures.push(failure) });
    const [resource] = parse(entry("a")).resources;
    assert.ok(resource);
    lastGood.note(new Map([["WorkloadEntry/default/a", { resource, unit: "files:a.yaml", acceptedAtMs: 5 }]]));
    await waitUntil(() => failures.length > 0, { what: "the failure" });
    isFailing = false;
    await lastGood.close();
    assert.equal((await createLastGood({ store }).load()).get("WorkloadEntry/default/a")?.acceptedAtMs, 5);
  });
});
