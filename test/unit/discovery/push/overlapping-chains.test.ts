import assert from "node:assert/strict";
import { fromBinary } from "@bufbuild/protobuf";
import type { AnyResource } from "../../../../api/resource.ts";
import { startPush } from "../../../../discovery/push/push.ts";
import { ListenerSchema } from "../../../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { BATCH_MS, startMesh } from "../../../support/push-mesh.ts";
import { resource } from "../../../support/resource.ts";
import { TYPE_URLS } from "../../../../xds/type-urls.ts";

// Envoy refuses a whole listener, with all that comes later, for two chains of one match.
describe("filter chains of outbound listeners", () => {
  const entry = (name: string, ports: { number: number; name: string; protocol: string }[], addresses: string[]) =>
    resource("ServiceEntry", name, { hosts: [`${name}.example.com`], location: "MESH_EXTERNAL", resolution: "STATIC", addresses, ports, endpoints: [{ address: "192.0.2.1" }] });
  const tcp = [{ number: 5_432, name: "tcp", protocol: "TCP" }];
  const tls = [{ number: 443, name: "tls", protocol: "TLS" }];

  /** Of each chain, what it matches: one text for each combination, as Envoy compares them. */
  async function matchesWith(...resources: readonly AnyResource[]): Promise<[chain: string, match: string][]> {
    const mesh = await startMesh();
    mesh.take({ do: "write", resource: resource("WorkloadGroup", "web", { template: { ports: { http: 8_080 } } }) });
    mesh.take({ do: "report", host: "h1", groups: ["default/web"], isHealthy: true });
    for (const one of resources) mesh.take({ do: "write", resource: one });
    await mesh.settled();
    const push = startPush(mesh.inputs);
    mesh.clock.advance(BATCH_MS);
    const listener = push.setOf("h1").get(TYPE_URLS.listener, "outbound|web");
    const chains = fromBinary(ListenerSchema, listener?.bytes ?? new Uint8Array()).filterChains;
    await push.close();
    await mesh.close();
    return chains.flatMap(({ name, filterChainMatch: match }) =>
      (match?.prefixRanges ?? []).flatMap(({ addressPrefix, prefixLen }) =>
        (match?.serverNames.length === 0 ? [""] : (match?.serverNames ?? [])).map((serverName): [string, string] => [name, `${match?.destinationPort ?? "*"} ${new URL(`http://[${addressPrefix.includes(":") ? addressPrefix : `::ffff:${addressPrefix}`}]`).hostname}/${prefixLen} ${serverName}`]),
      ),
    );
  }

  for (const [what, ...resources] of [
    ["two services have one address in two spellings", entry("a", tcp, ["fd00::1"]), entry("b", tcp, ["FD00:0::1"])],
    ["a service has one address twice", entry("a", tcp, ["192.0.2.9", "192.0.2.9", "fd00::1", "FD00:0::1", "::ffff:192.0.2.9"])],
    ["a service has an address of loopback", entry("a", tcp, ["::1", "192.0.2.9"]), entry("b", tcp, ["127.0.0.1"])],
    [
      "a route names a server twice",
      entry("a", tls, ["192.0.2.9"]),
      resource("VirtualService", "a", {
        hosts: ["a.example.com", "x.example.com"],
        tls: [{ match: [{ sniHosts: ["x.example.com", "x.example.com"] }], route: [{ destination: { host: "a.example.com" } }] }, { match: [{ sniHosts: ["x.example.com", "a.example.com"] }], route: [{ destination: { host: "a.example.com" } }] }],
      }),
    ],
  ] as const) {
    it(`have each match once where ${what}`, async () => {
      const all = await matchesWith(...resources);
      const twice = [...Map.groupBy(all, ([, match]) => match)].filter(([, holders]) => holders.length > 1);
      assert.deepEqual(twice, []);
      assert.ok(all.some(([chain]) => chain.endsWith("|a.example.com")), "the service is there");
      if (what.includes("server")) assert.deepEqual(all.filter(([chain]) => chain.includes("|a.example.com")).map(([, match]) => match.split(" ").at(-1)), ["x.example.com", "a.example.com"]);
      assert.ok(all.every(([chain, match]) => chain.startsWith("dialed|") || !/\[::1\]|\[::ffff:7f00/.test(match)), "nothing takes what was dialed");
    });
  }
});
