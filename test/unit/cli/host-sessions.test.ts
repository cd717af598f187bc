import assert from "node:assert/strict";
import { silentLogger } from "../../../base/logger.ts";
import { createHostSessions, type HostSessions, SESSION_KEY, type SessionCaller, sessionOf } from "../../../cli/control-plane/host-sessions.ts";
import { createManualClock, type ManualClock } from "../../support/manual-clock.ts";

/** An agent's connection, which answers when the test has it answer. */
interface Agent extends SessionCaller {
  readonly pings: PromiseWithResolvers<boolean>[];
}

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("sessions of one host", () => {
  let clock: ManualClock;
  let sessions: HostSessions;
  let refused: string[];
  let ended: string[];

  beforeEach(() => {
    clock = createManualClock();
    refused = [];
    ended = [];
    sessions = createHostSessions({ clock, logger: silentLogger, onRefused: ({ session }, { code }) => void refused.push(`${session} ${code}`) });
  });
  const agent = (session: string, port: number, hostId = "h1"): Agent => {
    const pings: PromiseWithResolvers<boolean>[] = [];
    const ping = (): Promise<boolean> => {
      const asked = Promise.withResolvers<boolean>();
      pings.push(asked);
      return asked.promise;
    };
    return { hostId, session, pings, peer: { remoteAddress: `192.0.2.${port}:40000`, peerCertificate: () => undefined, ping } };
  };
  const open = (caller: SessionCaller): Promise<() => void> => sessions.open(caller, (reason) => void ended.push(`${caller.session}: ${reason.message}`));

  it("are one where all is said by one agent, whatever connection it uses", async () => {
    await open(agent("a", 1));
    await open(agent("a", 2));
    await sessions.check(agent("a", 3));
    await sessions.check(agent("b", 4, "h2"));
    assert.deepEqual([refused, ended], [[], []]);
  });

  it("are contested where another one is there, was refused, or is being asked, and else not", async () => {
    const older = agent("a", 1);
    assert.equal(sessions.isContested(older), false);
    const leave = await open(older);
    assert.deepEqual([sessions.isContested(older), sessions.isContested(agent("a", 2)), sessions.isContested(agent("b", 3)), sessions.isContested(agent("b", 3, "h2"))], [false, false, true, false]);
    const coming = assert.rejects(open(agent("b", 3)), { code: "MESH_HOST_TWICE" });
    await tick();
    assert.equal(sessions.isContested(older), true, "a call of it is an answer");
    older.pings.at(-1)?.resolve(true);
    await coming;
    leave();
    assert.deepEqual([sessions.isContested(older), sessions.isContested(agent("b", 3))], [false, true], "who was refused is to be let in");
  });

  it("keep the newer out while the older answers, and let it in when that is gone", async () => {
    const older = agent("a", 1);
    const leave = await open(older);
    for (const attempt of [() => sessions.check(agent("b", 2)), () => open(agent("b", 2))]) {
      const coming = assert.rejects(attempt(), { code: "MESH_HOST_TWICE", message: /host h1 is live at 192\.0\.2\.1 already: the agent at 192\.0\.2\.2 has a copy of its state\. .*enrol/u });
      await tick();
      older.pings.at(-1)?.resolve(true);
      await coming;
      await sessions.check(older);
    }
    assert.equal(older.pings.length, 1, "an answer counts for a while");
    clock.advance(30_000);
    assert.deepEqual(sessions.turnedAway("h1"), [{ address: "192.0.2.2", liveAddress: "192.0.2.1", sinceMs: clock.now() - 30_000 }]);
    assert.deepEqual([refused, ended], [["b MESH_HOST_TWICE", "b MESH_HOST_TWICE"], []]);

    leave();
    await open(agent("b", 2));
    assert.deepEqual([sessions.turnedAway("h1"), ended], [[], []]);
  });

  it("let in at once whoever comes after a connection that breaks when it is asked", async () => {
    const older = agent("a", 1);
    const leave = await open(older);
    const coming = open(agent("b", 2));
    await tick();
    leave();
    older.pings.at(-1)?.resolve(false);
    await coming;
    assert.deepEqual(refused, []);
  });

  it("end the older where it does not answer in time, and no sooner", async () => {
    const older = agent("a", 1);
    await open(older);
    let isIn = false;
    const newer = agent("b", 2);
    const coming = open(newer).then(() => (isIn = true));
    await tick();
    clock.advance(4_999);
    await tick();
    assert.deepEqual([isIn, ended], [false, []]);
    clock.advance(1);
    await coming;
    assert.deepEqual(ended, ["a: this agent did not answer, and another one of its host came"]);
    // It lives after all, and is the newer now.
    const back = assert.rejects(sessions.check(older), { code: "MESH_HOST_TWICE" });
    await tick();
    newer.pings.at(-1)?.resolve(true);
    await back;
  });

  it("keep the newer out where the older comes on another connection meanwhile", async () => {
    const lost = agent("a", 1);
    const leave = await open(lost);
    const coming = assert.rejects(sessions.check(agent("b", 2)), { code: "MESH_HOST_TWICE", message: /live at 192\.0\.2\.3/u });
    await tick();
    leave();
    const again = agent("a", 3);
    await open(again);
    lost.pings.at(-1)?.resolve(false);
    await tick();
    again.pings.at(-1)?.resolve(true);
    await coming;
  });

  it("take a call of the older for its answer, on whatever connection it comes", async () => {
    for (const call of [open, (caller: SessionCaller) => sessions.check(caller)]) {
      const leave = await open(agent("a", 1));
      const coming = assert.rejects(open(agent("b", 2)), { code: "MESH_HOST_TWICE" });
      await tick();
      const again = call(agent("a", 3));
      await tick();
      clock.advance(5_000);
      await coming;
      const leaveAgain = await again;
      assert.deepEqual(ended, []);
      leave();
      leaveAgain?.();
    }
  });

  it("ask the older again when its answer is old, though somebody set the clock back", async () => {
    const older = agent("a", 1);
    await open(older);
    const refusal = assert.rejects(sessions.check(agent("b", 2)), { code: "MESH_HOST_TWICE" });
    await tick();
    older.pings.at(-1)?.resolve(true);
    await refusal;
    clock.step(-3_600_000);
    clock.advance(60_000);
    assert.deepEqual(sessions.turnedAway("h1"), [], "who came a minute ago is forgotten");
    const coming = open(agent("c", 3));
    await tick();
    clock.advance(5_000);
    await coming;
    assert.deepEqual(ended, ["a: this agent did not answer, and another one of its host came"]);
  });

  it("let in one of two that come at the same time", async () => {
    const [a, b] = [agent("a", 1), agent("b", 2)];
    const [first, second] = [open(a), open(b)];
    const refusal = assert.rejects(second, { code: "MESH_HOST_TWICE" });
    await first;
    await tick();
    a.pings.at(-1)?.resolve(true);
    await refusal;
  });

  it("forget a copy that comes no more, and list no more than a few", async () => {
    const older = agent("a", 1);
    await open(older);
    for (let count = 0; count < 20; count += 1) {
      const coming = assert.rejects(sessions.check(agent(`b${count}`, count)), { code: "MESH_HOST_TWICE" });
      await tick();
      older.pings.at(-1)?.resolve(true);
      await coming;
    }
    assert.equal(sessions.turnedAway("h1").length, 8);
    clock.advance(60_000);
    assert.deepEqual(sessions.turnedAway("h1"), []);
  });

  it("have names that are UUIDs, or none", () => {
    assert.equal(sessionOf({ [SESSION_KEY]: "0b6f3c1e-7c7e-4a53-9d3f-0f0b5f9f0c11" }), "0b6f3c1e-7c7e-4a53-9d3f-0f0b5f9f0c11");
    assert.equal(sessionOf({}), "");
    for (const bad of ["x".repeat(36), "a".repeat(37), "a b"]) assert.throws(() => sessionOf({ [SESSION_KEY]: bad }), { status: "INVALID_ARGUMENT", message: /ironmesh-session must be a UUID/u });
  });
});
