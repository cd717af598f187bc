import assert from "node:assert/strict";
import type { WorkloadBinding } from "../../../../agent/config.ts";
import { watchInboundOwnership } from "../../../../agent/ownership/inbound-ownership.ts";
import type { InboundOwnership } from "../../../../agent/ownership/inbound-ownership.ts";
import type { InboundPlace } from "../../../../agent/ownership/inbound-places.ts";
import type { Owner } from "../../../../agent/ownership/judge-owner.ts";
import type { ListeningSocket } from "../../../../agent/ownership/listening-sockets.ts";
import { silentLogger } from "../../../../base/logger.ts";
import { createManualClock } from "../../../support/manual-clock.ts";
import type { ManualClock } from "../../../support/manual-clock.ts";

const WEB: InboundPlace = { workload: "web", address: "10.0.0.1", port: 8_080 };
const WEB6: InboundPlace = { ...WEB, address: "fd77::1" };
const SHOP: InboundPlace = { workload: "shop", address: "10.0.0.1", port: 9_090 };
const OWN = 1;
const STRANGER = 2;
const OTHER_STRANGER = 3;
const DAEMON = 4;
const UNCLEAR = 5;

const WORDS = "uid 2 listens instead of the workload, on 10.0.0.1:8080";

describe("who listens where workloads are served", () => {
  let clock: ManualClock;
  let sockets: ListeningSocket[];
  let places: readonly InboundPlace[];
  let owners: Map<number, Owner | Error>;
  let asked: number[];
  let changes: number;
  let whileAsked: () => void;
  let readFailure: Error | undefined;
  let counts: string;
  let reads: number;
  let ownership: InboundOwnership;

  const listen = (...inodes: readonly number[]): void => {
    sockets = inodes.map((inode) => ({ address: "0.0.0.0", port: 8_080, uid: 0, inode }));
  };
  /** What is withheld after the next looks. */
  const look = async (afterMs = 0): Promise<string> => {
    if (afterMs > 0) clock.advance(afterMs);
    await ownership.look();
    return ownership.withheld().map(({ address, port }) => `${address}:${port}`).join(" ");
  };

  beforeEach(() => {
    clock = createManualClock();
    places = [WEB, SHOP];
    asked = [];
    changes = 0;
    whileAsked = () => undefined;
    readFailure = undefined;
    counts = "1";
    reads = 0;
    owners = new Map<number, Owner | Error>([
      [OWN, { kind: "own" }],
      [STRANGER, { kind: "stranger", who: "uid 2" }],
      [OTHER_STRANGER, { kind: "stranger", who: "uid 3" }],
      [DAEMON, { kind: "stranger", who: "uid 0", isYoung: true }],
      [UNCLEAR, new Error("ss: not found")],
    ]);
    listen();
    ownership = watchInboundOwnership({
      workloads: [
        { group: "default/web", bind: { uid: 1 } },
        { group: "default/shop", bind: { ports: [9_090] } },
      ],
      places: () => places,
      readCounts: () => (counts === "none" ? Promise.reject(new Error("there is none")) : Promise.resolve(counts)),
      readSockets: async () => {
        reads += 1;
        if (readFailure !== undefined) throw readFailure;
        return sockets;
      },
      async lookUpOwner({ inode }: ListeningSocket, bind: WorkloadBinding) {
        assert.deepEqual(bind, { uid: 1 });
        asked.push(inode);
        whileAsked();
        const owner = owners.get(inode);
        assert.ok(owner);
        if (owner instanceof Error) throw owner;
        return owner;
      },
      onChange: () => void (changes += 1),
      clock,
      logger: silentLogger,
    });
  });
  afterEach(() => ownership.close());

  it("changes nothing while the workload listens, and asks once about each socket", async () => {
    listen(OWN);
    for (let round = 0; round < 20; round += 1) assert.equal(await look(1_000), "");
    assert.deepEqual([asked, changes, ownership.mismatchOf("web")], [[OWN], 0, undefined]);
  });

  it("changes nothing while nobody listens, and nothing at all for a workload that is bound by its ports", async () => {
    assert.equal(await look(), "");
    sockets = [{ address: "0.0.0.0", port: 9_090, uid: 0, inode: STRANGER }];
    assert.equal(await look(), "");
    assert.deepEqual([asked, changes], [[], 0]);
  });

  it("changes nothing for a workload that the host does not declare", async () => {
    places = [{ ...WEB, workload: "unknown" }];
    listen(STRANGER);
    assert.equal(await look(), "");
  });

  /** Lets the time go on by a second, and what it starts come to its end. */
  const second = async (): Promise<number> => {
    const before = reads;
    clock.advance(1_000);
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
    return reads - before;
  };

  it("looks by itself every second, where the counts or the places changed, or five passed", async () => {
    listen(OWN);
    await look();
    assert.deepEqual([await second(), await second()], [0, 0]);
    counts = "2";
    assert.deepEqual([await second(), await second()], [1, 0]);
    places = [WEB];
    assert.deepEqual([await second(), await second(), await second(), await second(), await second()], [1, 0, 0, 0, 0]);
    assert.equal(await second(), 1);
  });

  it("looks every second where the counts cannot be read", async () => {
    await look();
    counts = "none";
    assert.deepEqual([await second(), await second(), await second()], [1, 1, 1]);
  });

  it("looks every second while something is withheld or unclear", async () => {
    for (const inode of [STRANGER, UNCLEAR]) {
      listen(inode);
      await look();
      assert.deepEqual([await second(), await second()], [1, 1]);
    }
  });

  it("withholds from a stranger, and serves again once the workload listens, not before", async () => {
    listen(STRANGER);
    assert.equal(await look(), "10.0.0.1:8080");
    assert.equal(ownership.mismatchOf("web"), WORDS);
    assert.equal(ownership.mismatchOf("shop"), undefined);
    listen();
    assert.equal(await look(60_000), "10.0.0.1:8080", "it may come back between two looks");
    assert.equal(ownership.mismatchOf("web"), WORDS);
    assert.equal(changes, 1);
    listen(OWN);
    assert.equal(await look(), "");
    assert.deepEqual([changes, ownership.mismatchOf("web")], [2, undefined]);
  });

  it("withholds where only one of those who share the port is a stranger, and names the next one", async () => {
    listen(OWN, STRANGER);
    assert.equal(await look(), "10.0.0.1:8080");
    listen(OTHER_STRANGER);
    await look();
    assert.deepEqual([changes, ownership.mismatchOf("web")], [2, WORDS.replace("uid 2", "uid 3")]);
  });

  it("withholds nothing but the addresses that a stranger has", async () => {
    places = [WEB, WEB6];
    sockets = [{ address: "0.0.0.0", port: 8_080, uid: 1, inode: OWN }, { address: "::", port: 8_080, uid: 2, inode: STRANGER }];
    assert.equal(await look(), "fd77::1:8080");
    assert.equal(ownership.mismatchOf("web"), "uid 2 listens instead of the workload, on [fd77::1]:8080");
    sockets = [{ address: "::", port: 8_080, uid: 2, inode: STRANGER }];
    await look();
    assert.equal(ownership.mismatchOf("web"), "uid 2 listens instead of the workload, on 10.0.0.1:8080, [fd77::1]:8080");
  });

  it("keeps what was before where an owner cannot be found out, says so, and asks again", async () => {
    listen(UNCLEAR);
    assert.equal(await look(), "");
    assert.deepEqual(ownership.undetermined(), ["whose port 8080 of web is: ss: not found"]);
    await look(4_999);
    assert.deepEqual(asked, [UNCLEAR]);
    owners.set(UNCLEAR, { kind: "stranger", who: "uid 2" });
    assert.equal(await look(1), "10.0.0.1:8080");
    assert.deepEqual(ownership.undetermined(), []);
    owners.set(UNCLEAR, { kind: "unknown", why: "the kernel does not show it" });
    assert.equal(await look(5_000), "10.0.0.1:8080", "and where it was withheld");
    owners.set(UNCLEAR, { kind: "own" });
    assert.equal(await look(5_000), "");
  });

  it("keeps what was before where the sockets cannot be read", async () => {
    listen(STRANGER);
    await look();
    listen(OWN);
    readFailure = new Error("/proc is not mounted");
    assert.equal(await look(), "10.0.0.1:8080");
    assert.deepEqual(ownership.undetermined(), ["who listens on this host: /proc is not mounted"]);
    readFailure = undefined;
    assert.equal(await look(), "");
  });

  it("does not judge a socket that went while it was asked about", async () => {
    whileAsked = () => listen();
    for (const inode of [STRANGER, UNCLEAR]) {
      listen(inode);
      assert.equal(await look(), "");
    }
    assert.deepEqual([changes, ownership.undetermined()], [0, []]);
  });

  it("gives a daemon that opens its port as root the time to become its user", async () => {
    listen(DAEMON);
    assert.equal(await look(), "");
    assert.match(ownership.undetermined().join(), /it was opened by uid 0, who may be starting it/);
    assert.equal(await look(9_999), "");
    owners.set(DAEMON, { kind: "own" });
    assert.equal(await look(), "");
    assert.deepEqual([changes, ownership.undetermined()], [0, []]);
  });

  it("takes it for a stranger where it does not", async () => {
    listen(DAEMON);
    await look();
    assert.equal(await look(10_000), "10.0.0.1:8080");
  });

  it("forgets a place that is served no longer", async () => {
    listen(STRANGER);
    await look();
    places = [];
    assert.equal(await look(), "");
    assert.equal(ownership.mismatchOf("web"), undefined);
  });

  it("holds nobody up who waits for a look that takes long", async () => {
    const never = Promise.withResolvers<void>();
    owners.set(STRANGER, { kind: "own" });
    readFailure = undefined;
    const slow = watchInboundOwnership({
      workloads: [{ group: "default/web", bind: { uid: 1 } }],
      places: () => places,
      readCounts: () => Promise.resolve(""),
      readSockets: () => never.promise.then(() => []),
      lookUpOwner: () => Promise.resolve({ kind: "own" }),
      onChange: () => undefined,
      clock,
      logger: silentLogger,
    });
    const waiting = slow.look();
    await Promise.resolve();
    clock.advance(3_000);
    await waiting;
    never.resolve();
    await slow.close();
  });
});
