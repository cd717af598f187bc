import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { assert as check, integer, nat, property } from "fast-check";

import { decodeGeneration, encodeGeneration, openLastKnownGood } from "../../../agent/last-known-good.ts";
import { silentLogger } from "../../../base/logger.ts";
import { createResource } from "../../../xds/resource.ts";

const resource = (name: string, text = name) => createResource("type.googleapis.com/x.Y", name, Buffer.from(text));

describe("last known good", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "ironmesh-lkg-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const files = (): string[] => readdirSync(join(folder, "last-known-good")).toSorted();

  it("gives back what was saved, keeps two generations, all private", async () => {
    const store = await openLastKnownGood(folder, silentLogger);
    assert.equal(await store.load(), undefined);
    for (const text of ["one", "two", "three"]) await store.save([resource("a", text), resource("ü", text)], 7);
    assert.deepEqual(files(), ["generation-0000000002.lkg", "generation-0000000003.lkg"]);
    const loaded = await (await openLastKnownGood(folder, silentLogger)).load();
    assert.equal(loaded?.number, 3);
    assert.equal(loaded.savedAtMs, 7);
    assert.deepEqual(loaded.resources.map(({ name, bytes, version }) => [name, Buffer.from(bytes).toString(), version]), [
      ["a", "three", resource("a", "three").version],
      ["ü", "three", resource("ü", "three").version],
    ]);
    for (const file of files()) assert.equal(statSync(join(folder, "last-known-good", file)).mode & 0o777, 0o600);
  });

  it("takes the older one where the newer is damaged, wherever that is", async () => {
    const store = await openLastKnownGood(folder, silentLogger);
    await store.save([resource("old")], 1);
    await store.save([resource("new")], 2);
    const path = join(folder, "last-known-good", "generation-0000000002.lkg");
    const whole = readFileSync(path);
    for (const at of [0, 20, whole.length - 40, whole.length - 1]) {
      const damaged = Buffer.from(whole);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      writeFileSync(path, damaged);
      assert.deepEqual((await store.load())?.resources.map(({ name }) => name), ["old"], `byte ${at}`);
    }
    writeFileSync(path, whole.subarray(0, whole.length / 2));
    assert.equal((await store.load())?.number, 1);
    assert.ok(files().includes("generation-0000000002.lkg.corrupt"));
  });

  it("joins the saves that come while one is written", async () => {
    const store = await openLastKnownGood(folder, silentLogger);
    await Promise.all(Array.from({ length: 50 }, (_, index) => store.save([resource("a", String(index))], index)));
    const loaded = await store.load();
    assert.equal(Buffer.from(loaded?.resources[0]?.bytes ?? []).toString(), "49");
    assert.ok((loaded?.number ?? 99) <= 3);
  });

  it("never gives anything but the whole for bytes that were cut or changed", () => {
    const whole = encodeGeneration({ number: 1, savedAtMs: 2, resources: [resource("a"), resource("b")] });
    check(
      property(nat(whole.length - 1), integer({ min: 1, max: 255 }), (at, bits) => {
        const changed = Buffer.from(whole);
        changed[at] = (changed[at] ?? 0) ^ bits;
        assert.throws(() => decodeGeneration(changed));
        assert.throws(() => decodeGeneration(whole.subarray(0, at)));
      }),
    );
  });
});
