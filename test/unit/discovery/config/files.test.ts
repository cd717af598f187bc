import assert from "node:assert/strict";
import { watch } from "node:fs";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Config, startConfig } from "../../../../discovery/config/config.ts";
import { type ConfigFiles, watchConfigFiles } from "../../../../discovery/config/files.ts";
import { createLastGood } from "../../../../discovery/config/last-good.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import { createManualClock } from "../../../support/manual-clock.ts";
import { waitUntil } from "../../../support/wait-until.ts";

const SETTLE_MS = 2_000;

describe("configuration files that are being written", () => {
  const clock = createManualClock();
  let store = createMemoryStore();
  let directory: string;
  let files: ConfigFiles;
  let config: Config;
  let close: () => Promise<void>;

  async function start(): Promise<void> {
    const lastGood = createLastGood({ store, clock });
    files = await watchConfigFiles({ directory, clock, settleMs: SETTLE_MS });
    config = await startConfig({ sources: [files], lastGood, clock });
    close = async () => {
      await config.close();
      await files.close();
      await lastGood.close();
    };
  }

  beforeEach(async () => {
    store = createMemoryStore();
    directory = await mkdtemp(join(tmpdir(), "ironmesh-files-"));
    await write(entry("a"), entry("b"), entry("c"));
    await start();
  });
  afterEach(async () => {
    await close();
    await rm(directory, { recursive: true, force: true });
  });

  const entry = (name: string, address = "192.0.2.1"): string => `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}}\nspec: {address: ${address}}\n`;
  const write = (...documents: string[]): Promise<void> => writeFile(join(directory, "mesh.yaml"), documents.join("---\n"));
  const inForce = (): string => [...config.resources.entries().values()].map(({ metadata }) => metadata.name).sort().join("");
  const addressOfA = (): unknown => (config.resources.get("WorkloadEntry/default/a")?.spec as { address?: string } | undefined)?.address;
  const issues = (): string[] => [...new Set([...config.statuses.entries().values()].flatMap((status) => status.issues.map(({ code }) => code)))].sort();

  it("keep what they said while they are empty or hold the first part", async () => {
    await write("");
    await files.rescan();
    clock.advance(10 * SETTLE_MS);
    await files.rescan();
    assert.deepEqual([inForce(), issues()], ["abc", ["IM0203", "IM0204"]]);
    await write(entry("a", "192.0.2.7"));
    await files.rescan();
    assert.equal(inForce(), "abc");
    await write(entry("a", "192.0.2.7"), entry("b"), entry("c"));
    await files.rescan();
    assert.deepEqual([inForce(), addressOfA(), issues()], ["abc", "192.0.2.7", []]);
  });

  it("take something away once they have not changed for a while", async () => {
    await write(entry("a", "192.0.2.7"), entry("b"));
    await files.rescan();
    clock.advance(SETTLE_MS - 1);
    await files.rescan();
    clock.step(3_600_000);
    await files.rescan();
    assert.deepEqual([inForce(), addressOfA()], ["abc", "192.0.2.1"], "a clock that was set is no time that passed");
    await write(entry("a", "192.0.2.8"), entry("b"));
    await files.rescan();
    clock.advance(SETTLE_MS - 1);
    await files.rescan();
    assert.equal(inForce(), "abc", "it changed in the meantime");
    clock.advance(1);
    await files.rescan();
    assert.deepEqual([inForce(), addressOfA()], ["ab", "192.0.2.8"]);
  });

  it("say nothing more when they are deleted and others are there", async () => {
    await writeFile(join(directory, "other.yaml"), entry("d"));
    await rm(join(directory, "mesh.yaml"));
    await files.rescan();
    assert.deepEqual([inForce(), issues()], ["d", []]);
  });

  it("are believed to be elsewhere while there is none at all, also after a restart", async () => {
    await rm(join(directory, "mesh.yaml"));
    await files.rescan();
    assert.deepEqual([inForce(), issues()], ["abc", ["IM0203", "IM0205"]]);
    await close();
    await start();
    assert.deepEqual([inForce(), issues()], ["abc", ["IM0203", "IM0205"]]);
    await writeFile(join(directory, "nothing.yaml"), "# nothing is meant to be in force\n");
    await files.rescan();
    assert.deepEqual([inForce(), issues()], ["", []]);
  });
});

describe("configuration files that are replaced", () => {
  const clock = createManualClock();
  const noLookByTime = { rescanMs: 1e12 };
  let folder: string;
  let directory: string;
  let files: ConfigFiles;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-files-"));
    directory = join(folder, "config");
    await mkdir(directory);
  });
  afterEach(async () => {
    await files.close();
    await rm(folder, { recursive: true, force: true });
  });
  /** Written elsewhere, and then moved over what was there. */
  const replace = async (name: string, content: string): Promise<void> => {
    await writeFile(join(folder, "new"), content);
    await rename(join(folder, "new"), join(directory, name));
  };
  const yaml = (name: string): string => `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}}\nspec: {address: 192.0.2.1}\n`;
  const said = (file: string): unknown => {
    const [document] = files.units.get(file)?.documents ?? [];
    return document?.resource?.metadata.name;
  };
  const hears = (file: string, name: string | undefined): Promise<unknown> =>
    waitUntil(
      () => {
        clock.advance(250);
        return said(file) === name;
      },
      { what: `${name} of ${file}` },
    );

  it("are seen each time, at any depth, also in a folder that is new or was made anew", async () => {
    await replace("mesh.yaml", yaml("first"));
    files = await watchConfigFiles({ directory, clock, settleMs: 0, ...noLookByTime });
    assert.equal(said("mesh.yaml"), "first");
    for (const name of ["second", "third", "fourth"]) {
      await replace("mesh.yaml", yaml(name));
      await hears("mesh.yaml", name);
    }
    for (const time of ["made", "made-anew"]) {
      await mkdir(join(directory, "deep", "deeper"), { recursive: true });
      for (const name of ["first", "second", "third"]) {
        await replace("deep/deeper/mesh.yaml", yaml(`${time}-${name}`));
        await hears("deep/deeper/mesh.yaml", `${time}-${name}`);
      }
      await rm(join(directory, "deep"), { recursive: true });
      await hears("deep/deeper/mesh.yaml", undefined);
    }
  });

  it("are seen in a folder that was removed and made again at once, with the same inode where the file system does so", async () => {
    await mkdir(join(directory, "deep"));
    await replace("deep/mesh.yaml", yaml("first"));
    files = await watchConfigFiles({ directory, clock, settleMs: 0, ...noLookByTime });
    for (const time of ["second", "third", "fourth"]) {
      await rm(join(directory, "deep"), { recursive: true });
      await mkdir(join(directory, "deep"));
      await replace("deep/mesh.yaml", yaml(`${time}-folder`));
      await hears("deep/mesh.yaml", `${time}-folder`);
      await replace("deep/mesh.yaml", yaml(`${time}-change`));
      await hears("deep/mesh.yaml", `${time}-change`);
    }
  });

  it("are seen behind links to files, and when the link to the directory is replaced", async () => {
    const link = async (target: string, name: string): Promise<void> => {
      await symlink(target, join(folder, "new-link"));
      await rename(join(folder, "new-link"), join(folder, name));
    };
    await mkdir(join(folder, "elsewhere"));
    await writeFile(join(folder, "elsewhere/mesh.yaml"), yaml("first"));
    await link("../elsewhere/mesh.yaml", "config/mesh.yaml");
    await symlink("../nowhere/mesh.yaml", join(directory, "broken.yaml"));
    await link("config", "current");
    files = await watchConfigFiles({ directory: join(folder, "current"), clock, settleMs: 0, ...noLookByTime });
    await writeFile(join(folder, "elsewhere/mesh.yaml"), yaml("written-in-place"));
    await hears("mesh.yaml", "written-in-place");
    for (const name of ["moved-over", "moved-over-again"]) {
      await replace("../elsewhere/mesh.yaml", yaml(name));
      await hears("mesh.yaml", name);
    }
    await mkdir(join(folder, "next"));
    await writeFile(join(folder, "next/mesh.yaml"), yaml("next"));
    await link("next", "current");
    await hears("mesh.yaml", "next");
    await replace("../next/mesh.yaml", yaml("next-change"));
    await hears("mesh.yaml", "next-change");
  });

  it("are read within about a second, also where something is written all the time", async () => {
    await replace("mesh.yaml", yaml("first"));
    files = await watchConfigFiles({ directory, clock, settleMs: 0, ...noLookByTime });
    await replace("mesh.yaml", yaml("second"));
    const watcher = watch(directory);
    try {
      for (let count = 0; count < 12; count += 1) {
        // Who else watches the folder hears of it in the same turn.
        const heard = new Promise((resolve) => watcher.once("change", resolve));
        await writeFile(join(directory, "noise"), String(count));
        await heard;
        clock.advance(100);
      }
    } finally {
      watcher.close();
    }
    await waitUntil(() => said("mesh.yaml") === "second", { what: "the second content", timeoutMs: 10_000 });
  });
});
