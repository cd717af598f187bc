import assert from "node:assert/strict";
import { memoized } from "../../../base/memoized.ts";

describe("memoized", () => {
  it("works once for each object, equal or not, also where nothing comes of it", () => {
    const calls: number[] = [];
    const derive = memoized(({ is }: { readonly is: number }) => void calls.push(is));
    const [one, equal] = [{ is: 1 }, { is: 1 }];
    for (const object of [one, one, equal, equal, { is: 2 }]) assert.equal(derive(object), undefined);
    assert.deepEqual(calls, [1, 1, 2]);
  });
});
