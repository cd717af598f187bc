import assert from "node:assert/strict";
import { describe, it } from "mocha";
import fc from "fast-check";
import { Derivation } from "../../../../discovery/push/derivation.ts";

describe("Derivation", () => {
  it("derives again exactly what read a changed thing", () => {
    const derivedKeys: string[] = [];
    const derivation = new Derivation<string>((key, record) => {
      derivedKeys.push(key);
      record(`input ${key}`);
      if (key === "b") record("input a");
      return key;
    });
    for (const key of ["a", "b", "c"]) derivation.request(key);
    Array.from(derivation.flush());
    derivedKeys.length = 0;
    derivation.invalidate("input a");
    Array.from(derivation.flush());
    assert.deepEqual(derivedKeys.sort(), ["a", "b"]);
  });

  it("forgets what a key no longer reads", () => {
    let follow = true;
    const derivation = new Derivation<boolean>((_key, record) => {
      record("switch");
      if (follow) record("target");
      return follow;
    });
    derivation.request("k");
    Array.from(derivation.flush());
    follow = false;
    derivation.invalidate("switch");
    assert.deepEqual([...derivation.flush()], [["k", false]]);
    derivation.invalidate("target");
    assert.deepEqual([...derivation.flush()], []);
  });

  it("tells that a value is gone, once", () => {
    let present = true;
    const derivation = new Derivation<number>((_key, record) => {
      record("it");
      return present ? 1 : undefined;
    });
    derivation.request("k");
    Array.from(derivation.flush());
    present = false;
    derivation.invalidate("it");
    assert.deepEqual([...derivation.flush()], [["k", undefined]]);
    derivation.request("k");
    assert.deepEqual([...derivation.flush()], []);
  });

  it("equals deriving everything anew after any sequence of changes", () => {
    const keys = ["a", "b", "c", "d"];
    const step = fc.tuple(fc.constantFrom(...keys), fc.option(fc.array(fc.constantFrom(...keys), { maxLength: 3 }), { nil: undefined }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        // Each key has a list of keys that it reads; its value is what those lists are.
        const inputs = new Map<string, readonly string[]>();
        const derive = (key: string, record: (dependency: string) => void): string | undefined => {
          const list = inputs.get(key);
          if (list === undefined) return undefined;
          record(key);
          return list.map((other) => (record(other), `${other}=${inputs.get(other)?.join()}`)).join(";");
        };
        const derivation = new Derivation(derive);
        for (const [key, list] of steps) {
          if (list === undefined) inputs.delete(key);
          else inputs.set(key, list);
          derivation.request(key);
          derivation.invalidate(key);
          Array.from(derivation.flush());
        }
        const anew = new Map(keys.flatMap((key) => {
          const value = derive(key, () => undefined);
          return value === undefined ? [] : [[key, value] as const];
        }));
        assert.deepEqual(new Map(derivation.values()), anew);
      }),
    );
  });
});
