import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findControlGroup, isInside, processesOf } from "../../../../agent/ownership/control-group.ts";
import { judgeOwner } from "../../../../agent/ownership/judge-owner.ts";
import type { BoundOwner, SocketFacts } from "../../../../agent/ownership/judge-owner.ts";

const REVIEWS = "system.slice/reviews.service";

function judge(bound: BoundOwner, uid: number, facts: Partial<SocketFacts> = {}): string {
  const owner = judgeOwner({ address: "::", port: 80, uid, inode: 1 }, bound, { cgroup: "", processes: [], activated: [], ...facts });
  return owner.kind === "stranger" ? `${owner.isYoung === true ? "perhaps " : ""}${owner.who}` : owner.kind;
}

describe("whose a listening socket is", () => {
  describe("for a unit or control group", () => {
    const bound = { cgroup: REVIEWS };

    it("is decided by the control group that it was made in, whoever the user is", () => {
      assert.equal(judge(bound, 0, { cgroup: REVIEWS }), "own");
      assert.equal(judge(bound, 990, { cgroup: `${REVIEWS}/workers/1` }), "own");
      assert.equal(judge(bound, 990, { cgroup: "system.slice/thief.service", holder: 7 }), "uid 990 (control group /system.slice/thief.service, process 7)");
      assert.equal(judge(bound, 0, { cgroup: "system.slice" }), "uid 0 (control group /system.slice)");
      assert.equal(judge(bound, 0, { cgroup: `${REVIEWS}2` }), `uid 0 (control group /${REVIEWS}2)`);
      assert.equal(judge(bound, 0, { cgroup: undefined }), "uid 0 (a control group that is gone)");
    });

    it("is the unit's where systemd made it for a socket unit that starts the unit, and only there", () => {
      for (const cgroup of ["init.scope", "system.slice/reviews.socket"]) {
        assert.equal(judge(bound, 0, { cgroup, activated: [REVIEWS] }), "own");
        assert.equal(judge(bound, 0, { cgroup, activated: ["system.slice/other.service"] }), `uid 0 (control group /${cgroup})`);
        assert.equal(judge(bound, 0, { cgroup }), `uid 0 (control group /${cgroup})`);
      }
      assert.equal(judge(bound, 0, { cgroup: "system.slice/thief.service", activated: [REVIEWS] }), "uid 0 (control group /system.slice/thief.service)");
      assert.equal(judge({ cgroup: "system.slice" }, 0, { cgroup: "init.scope", activated: [REVIEWS] }), "own");
      const imitated = "user.slice/user-1000.slice/user@1000.service/reviews.socket";
      assert.equal(judge(bound, 1000, { cgroup: imitated, activated: [REVIEWS] }), `uid 1000 (control group /${imitated})`, "a user's own control group of that name");
    });
  });

  describe("for a user", () => {
    const bound = { uid: 33 };

    it("is decided by who made it", () => {
      assert.equal(judge(bound, 33), "own");
      assert.equal(judge(bound, 34, { cgroup: "user.slice", holder: 5, processes: [{ pid: 5, uid: 33 }] }), "uid 34 (control group /user.slice, process 5)");
    });

    it("is the user's where root made it with processes of the user around, or systemd did", () => {
      const cgroup = "system.slice/nginx.service";
      assert.equal(judge(bound, 0, { cgroup, processes: [{ pid: 1, uid: 0 }, { pid: 2, uid: 33 }] }), "own");
      assert.equal(judge(bound, 0, { cgroup: "init.scope" }), "own");
      assert.equal(judge(bound, 0, { cgroup, processes: [{ pid: 1, uid: 0 }] }), `perhaps uid 0 (control group /${cgroup})`);
      assert.equal(judge(bound, 0, { cgroup, processes: [] }), `perhaps uid 0 (control group /${cgroup})`);
    });

    it("is not known where the kernel shows no process", () => {
      assert.equal(judge(bound, 0, { processes: [{ pid: 1 }, { pid: 2 }] }), "unknown");
      assert.equal(judge({ uid: 0 }, 0), "own");
    });
  });
});

describe("control groups", () => {
  let root = "";
  before(() => {
    root = mkdtempSync(join(tmpdir(), "ironmesh-cgroup-"));
    mkdirSync(join(root, REVIEWS, "workers"), { recursive: true });
    mkdirSync(join(root, "user.slice"));
    writeFileSync(join(root, REVIEWS, "cgroup.procs"), `${process.pid}\n0\n4194304\n`);
  });
  after(() => rmSync(root, { recursive: true }));

  it("lie in themselves and in what is above them", () => {
    assert.ok(isInside(REVIEWS, REVIEWS) && isInside(REVIEWS, "system.slice") && isInside(REVIEWS, ""));
    assert.ok(!isInside(REVIEWS, "system") && !isInside("system.slice", REVIEWS));
  });

  it("are found by number, also where they are not expected", async () => {
    const { ino } = statSync(join(root, REVIEWS, "workers"));
    for (const likely of [REVIEWS, "user.slice", "gone.slice", ""]) assert.equal(await findControlGroup(ino, likely, ["/nonexistent", root]), `${REVIEWS}/workers`);
    assert.equal(await findControlGroup(0, REVIEWS, [root]), undefined);
  });

  it("give their processes, those of other namespaces and those that ended aside", async () => {
    assert.deepEqual(await processesOf(REVIEWS, [root]), [{ pid: process.pid, uid: process.getuid?.() }, { pid: 4_194_304 }]);
    assert.deepEqual(await processesOf("gone.slice", [root]), []);
  });
});
