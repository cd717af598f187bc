import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { slicePath } from "../../../agent/binding.ts";
import { watchControlGroups } from "../../../agent/control-group-watch.ts";
import type { ControlGroupWatch } from "../../../agent/control-group-watch.ts";
import { waitUntil } from "../../support/wait-until.ts";

describe("the watch of control groups", () => {
  let root = "";
  let changes = 0;
  let watch: ControlGroupWatch;
  const GROUP = "app.slice/app-shop.slice/shop.service";

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "control-groups-"));
    writeFileSync(join(root, "cgroup.procs"), "");
    changes = 0;
    watch = watchControlGroups([join(root, "absent"), root], () => (changes += 1));
  });
  afterEach(() => {
    watch.close();
    rmSync(root, { recursive: true });
  });

  /** Does something that must be noticed; the caller looks again then, as the agent does. */
  const noticed = async (act: () => void): Promise<void> => {
    const before = changes;
    act();
    await waitUntil(() => changes > before, { what: "a change" });
    watch.follow([GROUP]);
  };

  it("notices each step of the way, the group's end, and its return", async () => {
    watch.follow([GROUP]);
    for (const path of ["app.slice", "app.slice/app-shop.slice", GROUP]) await noticed(() => mkdirSync(join(root, path)));
    await noticed(() => rmdirSync(join(root, GROUP)));
    await noticed(() => mkdirSync(join(root, GROUP)));
  });

  it("notices when the whole slice goes and returns", async () => {
    mkdirSync(join(root, "app.slice/app-shop.slice"), { recursive: true });
    watch.follow([GROUP]);
    await noticed(() => rmdirSync(join(root, "app.slice/app-shop.slice")));
    await noticed(() => mkdirSync(join(root, "app.slice/app-shop.slice")));
    await noticed(() => mkdirSync(join(root, GROUP)));
  });

  it("says nothing of others", async () => {
    mkdirSync(join(root, "app.slice/app-shop.slice"), { recursive: true });
    watch.follow([GROUP]);
    mkdirSync(join(root, "app.slice/app-shop.slice/other.service"));
    await noticed(() => mkdirSync(join(root, GROUP)));
    assert.equal(changes, 1);
  });
});

describe("the control group of a slice", () => {
  it("lies in those that its name lists", () => {
    assert.deepEqual(["system.slice", "app-shop-web.slice", "-.slice"].map(slicePath), ["system.slice", "app.slice/app-shop.slice/app-shop-web.slice", ""]);
  });
});
