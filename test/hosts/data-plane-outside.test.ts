import assert from "node:assert/strict";
import { outboundClusterName } from "../../discovery/ir/names.ts";
import type { ProxyIr } from "../../discovery/ir/proxy.ts";
import { forwardTo, type HttpAnswer, hostnameOf, type MeshScenario, NOWHERE, startMeshScenario, UID, VIP } from "../support/mesh-scenario.ts";

/** Nobody has them: an answer from there was routed by its host name. */
const NOBODYS = [NOWHERE, "fd77::fa"] as const;
const SAID = { kind: "direct-response", status: 200, body: "declared" } as const;

describe("HTTP to hosts outside of the mesh", function () {
  this.timeout(180_000);
  let mesh: MeshScenario;

  before(async () => {
    const declared = { protocol: "http1", vips: [], accounts: [], endpoints: [], isOutside: true } as const;
    mesh = await startMeshScenario({
      services: [
        { ...declared, name: "declared", port: 8080, routes: [{ ...forwardTo(outboundClusterName(8080, "", hostnameOf("declared"))), action: SAID }] },
        { ...declared, name: "other", port: 7000 },
      ],
    });
  });
  after(async () => {
    assert.deepEqual(mesh.proxies.a.nacks, []);
    await mesh.close();
  });

  const get = async (host: string, authority: string, changes: { path?: string; mode?: "http2" } = {}): Promise<HttpAnswer | undefined> =>
    (await mesh.http(mesh.hosts.a, { uid: UID.web, mode: "http1", host, port: 8080, authority, ...changes }))[0];

  it("follows the routes of a host that was declared, wherever it was dialed", async () => {
    for (const host of NOBODYS) assert.equal((await get(host, "declared"))?.body, "declared", host);
    assert.equal((await get(mesh.hosts.c.addresses.v4, "declared:8080"))?.body, "declared");
  });

  it("sends a host that nobody declared to where its caller dialed, as it is written", async () => {
    for (const host of [mesh.hosts.c.addresses.v4, mesh.hosts.c.addresses.v6]) {
      const answer = await get(host, "stranger.example", { path: "/a/%2e%2e/b//c?sign=%2F" });
      assert.equal(answer?.body?.name, "outside", host);
      assert.equal((answer?.body as { path?: string } | undefined)?.path, "/a/%2e%2e/b//c?sign=%2F");
    }
  });

  it("leaves virtual addresses on the same port to the mesh", async () => {
    assert.equal((await get(VIP.reviews[0], "reviews"))?.body?.name, "reviews");
    assert.equal((await get(VIP.reviews[0], "declared"))?.status, 404);
    assert.equal((await get(mesh.hosts.c.addresses.v4, "reviews"))?.body?.name, "outside");
  });

  it("passes on what is not HTTP, also where the server speaks first", async () => {
    const call = { uid: UID.web, host: mesh.hosts.c.addresses.v4, port: 7000 } as const;
    assert.equal((await mesh.tcp(mesh.hosts.a, { ...call, mode: "tcp" })).received, "outside says hello\nping\n");
  });

  it("refuses what nobody declared where the mesh says so", async () => {
    const { proxy, ...rest } = mesh.initial.a;
    await mesh.proxies.a.apply({ ...rest, proxy: closed(proxy) });
    const answer = await get(mesh.hosts.c.addresses.v4, "stranger.example");
    assert.deepEqual([answer?.status, answer?.headers?.["x-ironmesh-reason"]], [502, "unknown-host"]);
    assert.equal((await get(NOWHERE, "declared"))?.body, "declared");
    await mesh.proxies.a.apply(mesh.initial.a);
  });
});

/** The proxy of a mesh in which a destination must be declared. */
function closed(proxy: ProxyIr): ProxyIr {
  const workloads = proxy.workloads.map((workload) => ({ ...workload, outbound: { ...workload.outbound, unknownDestinations: "deny" as const } }));
  return { ...proxy, workloads };
}
