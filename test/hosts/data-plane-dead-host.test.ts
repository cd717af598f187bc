import assert from "node:assert/strict";
import { type MeshScenario, startMeshScenario, UID, VIP } from "../support/mesh-scenario.ts";
import { waitUntil } from "../support/wait-until.ts";

/** Far longer than the proxies wait, far shorter than the kernel would by itself (15 minutes). */
const PATIENCE_MS = 120_000;

describe("a host that loses its power", function () {
  this.timeout(300_000);
  let mesh: MeshScenario;

  before(async () => {
    mesh = await startMeshScenario();
  });
  after(() => mesh.close());

  it("does not hold those who wait for it on an open connection", async () => {
    const held = mesh.hold(mesh.hosts.a, { uid: UID.web, mode: "hold", host: VIP.db[0], port: 5432 });
    await waitUntil(() => held.output().includes("hello"), { what: "the greeting" });
    await mesh.hosts.b.run("ip", ["link", "set", "eth0", "down"]);
    held.child.stdin?.write("is anybody there?\n");
    await waitUntil(() => held.child.exitCode !== null, { what: "the connection to end", timeoutMs: PATIENCE_MS });
    assert.match(held.output(), /"closed"/);
  });
});
