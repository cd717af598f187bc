import assert from "node:assert/strict";
import type { WorkloadBinding } from "../../../../agent/config.ts";
import type { CommandRunner } from "../../../../agent/interception/command-runner.ts";
import { lookUpOwner } from "../../../../agent/ownership/socket-owner.ts";

const SS = "LISTEN 0 511 *:80 *:* uid:34 ino:7 sk:3 cgroup:/no-such.slice/thief.service v6only:0 <->\n";

/** A host whose `ss` prints this, or is not there. */
function host(ss: string | undefined): CommandRunner & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    run(command) {
      asked.push(command);
      return Promise.resolve(ss === undefined ? { code: 127, stdout: "", stderr: `${command}: not found` } : { code: 0, stdout: ss, stderr: "" });
    },
    startDetached: () => 0,
  };
}

describe("asking the host whose a socket is", () => {
  const lookUp = (uid: number, bind: WorkloadBinding, runner: CommandRunner): ReturnType<typeof lookUpOwner> => lookUpOwner({ address: "::", port: 80, uid, inode: 7 }, bind, runner);
  const uid = 4_000_033;

  it("asks nothing where the row of the table tells it", async () => {
    const runner = host(undefined);
    assert.deepEqual(await lookUp(uid, { uid }, runner), { kind: "own" });
    assert.deepEqual(runner.asked, []);
  });

  it("knows another user's also where the host tells no more", async () => {
    assert.deepEqual(await lookUp(34, { uid }, host(undefined)), { kind: "stranger", who: "uid 34" });
    assert.deepEqual(await lookUp(34, { uid }, host(SS)), { kind: "stranger", who: "uid 34 (control group /no-such.slice/thief.service)" });
  });

  it("says by control group, and fails where the host does not tell it", async () => {
    assert.deepEqual(await lookUp(34, { cgroup: "no-such.slice" }, host(SS)), { kind: "own" });
    assert.equal((await lookUp(34, { cgroup: "other.slice" }, host(SS))).kind, "stranger");
    for (const bind of [{ uid }, { cgroup: "other.slice" }]) await assert.rejects(lookUp(0, bind, host(undefined)), /`ss --cgroup` failed: ss: not found/);
  });

  it("fails for a user that there is not", async () => {
    await assert.rejects(lookUp(34, { uid: "no-such-user" }, host(SS)), { code: "MESH_UNKNOWN_USER" });
  });

  it("does not know one that is gone", async () => {
    assert.deepEqual(await lookUp(0, { uid }, host("")), { kind: "unknown", why: "port 80 changed hands in this moment" });
  });
});
