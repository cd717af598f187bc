import assert from "node:assert/strict";
import { applyCapture, revertCapture, verifyCapture } from "../../agent/interception/apply.ts";
import type { CaptureSpec } from "../../agent/interception/capture-spec.ts";
import { CAPTURE_VARIANTS, CLIENT, PORT, soundPlan, SPEC, startCaptureScenario, UID } from "../support/capture-scenario.ts";
import type { CaptureScenario } from "../support/capture-scenario.ts";
import { networkState } from "../support/network-state.ts";

const AT_ONCE = { guard: "remove", drainTimeoutMs: 0 } as const;
const FAMILIES = ["v4", "v6"] as const;
const VIP = { v4: "240.240.0.9", v6: "2001:2::9" } as const;
const LOOPBACK = { v4: "127.0.0.1", v6: "::1" } as const;

for (const variant of CAPTURE_VARIANTS) {
  describe(`interception with ${variant}`, function () {
    this.timeout(120_000);
    let scenario: CaptureScenario;
    let untouched = "";

    const apply = (changes: Partial<CaptureSpec> = {}): Promise<void> => applyCapture(scenario.target, soundPlan({ ...SPEC, ...changes }));

    // One lab for all cases; each case applies what it needs and must leave nothing.
    before(async function () {
      scenario = (await startCaptureScenario(variant)) ?? this.skip();
    });
    beforeEach(async () => {
      untouched = await networkState(scenario.a);
    });
    after(() => scenario?.close());
    afterEach(async () => {
      await revertCapture(scenario.target, AT_ONCE);
      assert.equal(await networkState(scenario.a), untouched, "the host is not as it was");
    });

    for (const family of FAMILIES) {
      describe(`over IP${family}`, () => {
        it("takes each workload's connections to its own listener, and nobody else's", async () => {
          await apply();
          const { a, b, land } = scenario;
          const host = b.addresses[family];
          assert.equal(await land(a, { uid: UID.one, host, port: PORT.plain }), "out-one");
          assert.equal(await land(a, { uid: UID.two, host, port: PORT.plain }), "out-two");
          for (const uid of [UID.stranger, UID.root, UID.proxy]) {
            assert.equal(await land(a, { uid, host, port: PORT.plain }), "b-app", `user ${uid}`);
          }
        });

        it("takes declared ports from other hosts to the inbound listener, and no other port", async () => {
          await apply();
          const { a, b, land } = scenario;
          const host = a.addresses[family];
          assert.equal(await land(b, { uid: UID.root, host, port: PORT.strict, lines: 2 }), "inbound > app-one");
          assert.equal(await land(b, { uid: UID.root, host, port: PORT.open }), "inbound");
          assert.equal(await land(b, { uid: UID.root, host, port: PORT.plain }), "a-other");
          assert.equal(await land(b, { uid: UID.root, host, port: PORT.management }), "a-other");
        });

        it("leaves SSH and exclusions alone, both ways", async () => {
          await apply({ exclusions: { ports: [PORT.excluded], cidrs: [] } });
          const { a, b, land } = scenario;
          for (const uid of [UID.one, UID.root]) assert.equal(await land(a, { uid, host: b.addresses[family], port: 22 }), "b-app");
          assert.equal(await land(b, { uid: UID.root, host: a.addresses[family], port: 22 }), "a-ssh");
          assert.equal(await land(a, { uid: UID.one, host: b.addresses[family], port: PORT.excluded }), "b-app");
          await apply({ exclusions: { ports: [], cidrs: ["10.77.0.0/24", "fd77::/64"] } });
          assert.equal(await land(a, { uid: UID.one, host: b.addresses[family], port: PORT.plain }), "b-app");
          assert.equal(await land(b, { uid: UID.root, host: a.addresses[family], port: PORT.open }), "inbound", "an exclusion opened a way around inbound policy");
        });

        it("leaves SSH alone whatever is declared, excluded or closed, also while it is paused", async () => {
          const { a, b, land } = scenario;
          const everything = { ports: [], cidrs: ["0.0.0.0/0", "::/0"] };
          const inbound = [{ workload: "one", port: PORT.strict, addresses: [a.addresses[family]], failClosed: true }, ...SPEC.inbound.slice(1)];
          for (const changes of [{ exclusions: { ports: [22], cidrs: [] } }, { exclusions: everything }, { inbound, dns: { port: PORT.dns, capture: true } }] as const) {
            await apply(changes);
            for (const uid of [UID.one, UID.two, UID.stranger, UID.root, UID.proxy]) {
              assert.equal(await land(a, { uid, host: b.addresses[family], port: 22 }), "b-app", `out, user ${uid}`);
              assert.equal(await land(a, { uid, host: LOOPBACK[family], port: 22 }), "a-ssh", `loopback, user ${uid}`);
            }
            assert.equal(await land(b, { uid: UID.root, host: a.addresses[family], port: 22 }), "a-ssh", "in");
          }
          await apply({ exclusions: everything });
          assert.equal(await land(a, { uid: UID.one, host: b.addresses[family], port: PORT.plain }), "b-app", "all is excluded");
          assert.equal(await land(b, { uid: UID.root, host: a.addresses[family], port: PORT.strict }), "inbound", "inbound is not");
          await revertCapture(scenario.target, { guard: "keep", drainTimeoutMs: 0 });
          assert.equal(await land(b, { uid: UID.root, host: a.addresses[family], port: 22 }), "a-ssh", "paused");
        });

        it("takes virtual addresses where nothing routes them, whatever else is captured", async () => {
          assert.match(await scenario.land(scenario.a, { uid: UID.one, host: VIP[family], port: 80 }), /^E(NETUNREACH|HOSTUNREACH)$/);
          await apply({ outboundScope: "vips", exclusions: { ports: [80], cidrs: [] } });
          const { a, b, land } = scenario;
          assert.equal(await land(a, { uid: UID.one, host: VIP[family], port: 80 }), "out-one");
          assert.equal(await land(a, { uid: UID.two, host: VIP[family], port: PORT.strict }), "out-two");
          assert.equal(await land(a, { uid: UID.one, host: b.addresses[family], port: PORT.plain }), "b-app");
          // The local route must not bring anybody to this host's own servers.
          for (const port of [PORT.plain, PORT.strict, PORT.open]) {
            assert.equal(await land(a, { uid: UID.stranger, host: VIP[family], port }), "ECONNREFUSED", `port ${port}`);
          }
        });

        it("lets a workload reach its neighbour and itself through their policies", async () => {
          await apply();
          const { a, land } = scenario;
          // The stand-in's out-two opens app-one's port, out-one app-two's; the inbound stand-in delivers to app-one.
          assert.equal(await land(a, { uid: UID.two, host: VIP[family], port: PORT.strict, lines: 3 }), "out-two > inbound > app-one");
          assert.equal(await land(a, { uid: UID.two, host: a.addresses[family], port: PORT.strict, lines: 3 }), "out-two > inbound > app-one");
          assert.equal(await land(a, { uid: UID.one, host: VIP[family], port: PORT.open, lines: 3 }), "out-one > inbound > app-one");
          assert.equal(await land(a, { uid: UID.proxy, host: a.addresses[family], port: PORT.open }), "inbound");
          assert.equal(await land(a, { uid: UID.proxy, host: LOOPBACK[family], port: PORT.open }), "inbound");
        });

        it("lets only the proxy deliver, from its own source address", async () => {
          await apply({ probeUids: [UID.resolver] });
          const { a, land } = scenario;
          const localAddress = family === "v4" ? "127.0.0.6" : "::6";
          for (const host of [a.addresses[family], LOOPBACK[family]]) {
            assert.equal(await land(a, { uid: UID.proxy, host, port: PORT.strict, localAddress }), "app-one");
            assert.equal(await land(a, { uid: UID.resolver, host, port: PORT.strict, localAddress }), "app-one", "the agent's probe");
            for (const uid of [UID.stranger, UID.root, UID.one]) {
              assert.notEqual(await land(a, { uid, host, port: PORT.strict, localAddress }), "app-one", `user ${uid}`);
            }
          }
        });

        it("lets nobody on the host around a fail-closed port, and everybody to an open one on loopback", async () => {
          await apply();
          const { a, land } = scenario;
          for (const uid of [UID.stranger, UID.root, UID.one, UID.two, UID.proxy, UID.resolver]) {
            for (const host of [a.addresses[family], LOOPBACK[family]]) {
              const landed = await land(a, { uid, host, port: PORT.strict });
              assert.match(landed, /^(inbound|out-one|out-two)$/, `user ${uid} to ${host}`);
            }
          }
          assert.equal(await land(a, { uid: UID.stranger, host: LOOPBACK[family], port: PORT.open }), "app-two");
          assert.equal(await land(a, { uid: UID.stranger, host: a.addresses[family], port: PORT.open }), "inbound");
        });

        it("lets nobody dial a capture port", async () => {
          await apply();
          const { a, b, land } = scenario;
          for (const port of [PORT.inbound, PORT.outOne, PORT.outTwo]) {
            assert.equal(await land(b, { uid: UID.root, host: a.addresses[family], port }), "ECONNREFUSED", `from the network to ${port}`);
            for (const uid of [UID.stranger, UID.root, UID.two, UID.proxy]) {
              assert.equal(await land(a, { uid, host: LOOPBACK[family], port }), "ECONNREFUSED", `user ${uid} to ${port}`);
            }
            // Captured first, refused then: it cannot end at another workload's listener.
            assert.equal(await land(a, { uid: UID.one, host: a.addresses[family], port, lines: 1 }), "out-one");
            assert.equal(await land(a, { uid: UID.stranger, host: a.addresses[family], port }), "ECONNREFUSED");
          }
        });

        it("keeps fail-closed ports and capture ports closed while capture is paused", async () => {
          await apply();
          await revertCapture(scenario.target, { guard: "keep", drainTimeoutMs: 0 });
          assert.deepEqual(await verifyCapture(scenario.target), []);
          const { a, b, land } = scenario;
          assert.equal(await land(b, { uid: UID.root, host: a.addresses[family], port: PORT.strict }), "ECONNREFUSED");
          for (const uid of [UID.stranger, UID.root, UID.one]) {
            for (const host of [a.addresses[family], LOOPBACK[family]]) {
              assert.equal(await land(a, { uid, host, port: PORT.strict }), "ECONNREFUSED", `user ${uid} to ${host}`);
            }
          }
          assert.equal(await land(a, { uid: UID.two, host: LOOPBACK[family], port: PORT.outOne }), "ECONNREFUSED");
          assert.equal(await land(b, { uid: UID.root, host: a.addresses[family], port: PORT.open }), "app-two", "an open port fails open");
          assert.equal(await land(b, { uid: UID.root, host: a.addresses[family], port: 22 }), "a-ssh");
          assert.equal(await land(a, { uid: UID.one, host: b.addresses[family], port: PORT.plain }), "b-app", "outbound fails open");
        });

        it("takes name queries of workloads only, and keeps the resolver's own apart", async () => {
          const dns = { port: PORT.dns, capture: true };
          await apply({ dns, outboundScope: "vips" });
          const { a, b, land } = scenario;
          const host = b.addresses[family];
          assert.equal(await land(a, { uid: UID.one, host, port: 53, isDatagram: true, localPort: 5353 }), "resolver");
          // The same source port a moment later: only tracking apart tells the two flows from each other.
          assert.equal(await land(a, { uid: UID.resolver, host, port: 53, isDatagram: true, localPort: 5353 }), "b-app");
          assert.equal(await land(a, { uid: UID.one, host, port: 53, isDatagram: true, localPort: 5353 }), "resolver");
          assert.equal(await land(a, { uid: UID.two, host, port: 53 }), "resolver", "over TCP");
          assert.equal(await land(a, { uid: UID.stranger, host, port: 53 }), "b-app");
          const stub = family === "v4" ? "127.0.0.53" : "::1";
          assert.equal(await land(a, { uid: UID.one, host: stub, port: 53, isDatagram: true }), "resolver", "systemd-resolved's stub");
        });
      });
    }

    it("closes a fail-closed port on addresses that its workload does not name", async () => {
      const { a, b, land } = scenario;
      await apply({ inbound: [{ workload: "one", port: PORT.strict, addresses: [a.addresses.v4], failClosed: true }] });
      assert.equal(await land(b, { uid: UID.root, host: a.addresses.v4, port: PORT.strict }), "inbound");
      assert.equal(await land(b, { uid: UID.root, host: a.addresses.v6, port: PORT.strict }), "ECONNREFUSED");
      assert.equal(await land(a, { uid: UID.stranger, host: "127.0.0.1", port: PORT.strict }), "ECONNREFUSED");
    });

    it("never captures what the agent and the proxy open, and serves its management ports to everybody", async () => {
      await apply({ probeUids: [UID.root], dns: { port: PORT.dns, capture: true } });
      const { a, b, land } = scenario;
      for (const family of FAMILIES) {
        for (const uid of [UID.root, UID.proxy]) {
          assert.equal(await land(a, { uid, host: b.addresses[family], port: PORT.plain }), "b-app", `user ${uid}`);
          assert.equal(await land(a, { uid, host: b.addresses[family], port: 53, isDatagram: true }), "b-app", `queries of user ${uid}`);
        }
        assert.equal(await land(b, { uid: UID.root, host: a.addresses[family], port: PORT.management }), "a-other");
        assert.equal(await land(a, { uid: UID.stranger, host: LOOPBACK[family], port: PORT.management }), "a-other");
      }
    });

    it("captures more ports than one rule holds", async () => {
      const { a, b, land } = scenario;
      const many = Array.from({ length: 40 }, (_, index) => ({ workload: "one", port: 20_000 + index, failClosed: true }));
      await apply({ inbound: [...many, ...SPEC.inbound], exclusions: { ports: Array.from({ length: 40 }, (_, index) => 9960 + index), cidrs: [] } });
      assert.equal(await land(b, { uid: UID.root, host: a.addresses.v4, port: 20_039 }), "inbound");
      assert.equal(await land(b, { uid: UID.root, host: a.addresses.v6, port: PORT.strict }), "inbound");
      assert.equal(await land(a, { uid: UID.one, host: b.addresses.v4, port: PORT.excluded }), "b-app");
    });

    it("captures by cgroup", async () => {
      const { a, b, land } = scenario;
      // Its name is escaped as systemd escapes a unit's.
      const cgroup = `ironmesh\\x2dtest-${process.pid}`;
      const path = `/sys/fs/cgroup/${cgroup}`;
      // Where version 1 is mounted, version 2 goes over it in this mount namespace.
      const isOverlaid = (await a.run("test", ["-e", "/sys/fs/cgroup/cgroup.procs"])).code !== 0;
      if (isOverlaid) assert.equal((await a.run("mount", ["-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"])).code, 0);
      try {
        await a.run("mkdir", [path]);
        await apply({ outbound: [{ workload: "three", match: { cgroups: [cgroup] }, outboundPort: PORT.outOne }] });
        const client = [process.execPath, CLIENT, JSON.stringify({ mode: "once", host: b.addresses.v4, port: PORT.plain })];
        const inside = await a.run("sh", ["-c", 'echo $$ > "$0/cgroup.procs"; exec "$@"', path, ...client]);
        assert.match(inside.stdout, /out-one/);
        assert.equal(await land(a, { uid: UID.stranger, host: b.addresses.v4, port: PORT.plain }), "b-app");
      } finally {
        await a.run("rmdir", [path]);
        if (isOverlaid) await a.run("umount", ["/sys/fs/cgroup"]);
      }
    });

    it("keeps what is in force when a change cannot be loaded, and adds nothing where nothing was", async () => {
      const { a, b, land, target } = scenario;
      const unloadable = { outbound: [{ workload: "three", match: { cgroups: ["ironmesh-absent"] }, outboundPort: PORT.outTwo }] };
      await assert.rejects(apply(unloadable), { code: "MESH_CAPTURE_COMMAND_FAILED" });
      assert.equal(await networkState(a), untouched);
      await apply();
      await assert.rejects(apply(unloadable), { code: "MESH_CAPTURE_COMMAND_FAILED", hint: /cgroup/ });
      assert.equal(await land(a, { uid: UID.one, host: b.addresses.v4, port: PORT.plain }), "out-one");
      assert.deepEqual(await verifyCapture(target), []);
    });
  });
}
