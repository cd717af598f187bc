import assert from "node:assert/strict";
import fc from "fast-check";
import { type AnyResource, resourceKey } from "../../../../api/resource.ts";
import { SourceCollection } from "../../../../base/collection.ts";
import { createCatalog } from "../../../../discovery/catalog/catalog.ts";
import { VipAllocator } from "../../../../discovery/catalog/vip.ts";
import { followProxyHosts } from "../../../../discovery/proxy-hosts.ts";
import type { PushInputs } from "../../../../discovery/push/inputs.ts";
import { type Push, startPush } from "../../../../discovery/push/push.ts";
import { createAgentsRegistry, LIVENESS_DEFAULTS, type AgentsRegistry } from "../../../../discovery/registry/agents/registry.ts";
import { createStaticRegistry } from "../../../../discovery/registry/static/registry.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import type { ResourceSet } from "../../../../xds/resource-set.ts";
import { hostReport, workloadReport } from "../../../support/host-report.ts";
import { createManualClock } from "../../../support/manual-clock.ts";
import { resource } from "../../../support/resource.ts";

const HOSTS = ["h1", "h2"];
const BATCH_MS = 10;
const RULED_HOSTS = ["web", "db", "api.example.com", "*.mesh.internal"];

/** One thing that somebody does to the mesh. */
type Step =
  | { readonly do: "write" | "delete"; readonly resource: AnyResource }
  | { readonly do: "report"; readonly host: string; readonly groups: readonly string[]; readonly isHealthy: boolean }
  | { readonly do: "leave"; readonly host: string }
  | { readonly do: "trust"; readonly root: string };

const port = fc.constantFrom({ name: "http", port: 80, targetPort: 8_080 }, { name: "tcp", port: 5_432 }, { name: "grpc", port: 80 }, { name: "http", port: 81 });
const name = fc.constantFrom("web", "db");
const written: fc.Arbitrary<AnyResource> = fc.oneof(
  fc.tuple(name, fc.uniqueArray(port, { minLength: 1, maxLength: 2, selector: (one) => one.port })).map(([app, ports]) =>
    resource("Service", app, { selector: { app }, ports: ports.map((one, index) => ({ ...one, name: `${one.name}-${index}` })) }),
  ),
  fc.tuple(name, fc.boolean()).map(([app, isOther]) =>
    resource("WorkloadGroup", app, {
      metadata: { labels: { app, version: isOther ? "v2" : "v1" } },
      template: { serviceAccount: isOther ? "other" : app, ports: { http: 8_080 } },
    }),
  ),
  fc.tuple(name, fc.integer({ min: 1, max: 3 })).map(([app, last]) =>
    resource("WorkloadEntry", `${app}-vm`, { address: `10.1.0.${last}`, labels: { app, version: "v1" }, ports: { http: 8_080 } }),
  ),
  fc.constantFrom("STATIC" as const, "DNS" as const).map((resolution) =>
    resource("ServiceEntry", "api", {
      hosts: ["api.example.com"],
      location: "MESH_EXTERNAL",
      resolution,
      ports: [{ number: 80, name: "http", protocol: "HTTP" }],
      endpoints: [{ address: resolution === "DNS" ? "api.example.com" : "192.0.2.1" }],
    }),
  ),
  fc.tuple(fc.constantFrom("a", "b"), fc.constantFrom(...RULED_HOSTS), name, fc.constantFrom("1s", "2s"), fc.constantFrom("default", "mesh-system")).map(
    ([id, host, to, timeout, namespace]) =>
      resource("VirtualService", id, { hosts: [host], http: [{ route: [{ destination: { host: to } }], timeout }], tcp: [{ route: [{ destination: { host: to } }] }] }, { namespace }),
  ),
  fc.tuple(fc.constantFrom("a", "b"), fc.constantFrom(...RULED_HOSTS), fc.subarray(["v1", "v2"]), fc.integer({ min: 1, max: 2 })).map(([id, host, versions, maxConnections]) =>
    resource("DestinationRule", id, {
      host,
      trafficPolicy: { connectionPool: { tcp: { maxConnections } } },
      subsets: versions.map((version) => ({ name: version, labels: { version } })),
    }),
  ),
  fc.tuple(fc.constantFrom("default", "mesh-system"), fc.constantFrom("STRICT" as const, "PERMISSIVE" as const)).map(([namespace, mode]) =>
    resource("PeerAuthentication", "all", { mtls: { mode } }, { namespace }),
  ),
  fc.tuple(name, fc.constantFrom("ALLOW" as const, "DENY" as const)).map(([app, action]) =>
    resource("AuthorizationPolicy", "p", { selector: { matchLabels: { app } }, action, rules: [{}] }),
  ),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(fc.constantFrom("write" as const, "write" as const, "delete" as const), written).map(([what, one]) => ({ do: what, resource: one })) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom(...HOSTS), fc.subarray(["default/web", "default/db"]), fc.boolean())
      .map(([host, groups, isHealthy]) => ({ do: "report" as const, host, groups, isHealthy })),
  },
  { weight: 1, arbitrary: fc.constantFrom(...HOSTS).map((host) => ({ do: "leave" as const, host })) },
  { weight: 1, arbitrary: fc.constantFrom("old root", "new root").map((root) => ({ do: "trust" as const, root })) },
);

describe("startPush", () => {
  it("ends where a fresh start over the final state ends, after any sequence of changes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(step, fc.boolean()), { maxLength: 25 }), async (steps) => {
        const mesh = await startMesh();
        const incremental = startPush(mesh.inputs);
        for (const [one, isBatchEnd] of steps) {
          mesh.take(one);
          await mesh.settled();
          if (isBatchEnd) mesh.clock.advance(BATCH_MS);
        }
        mesh.clock.advance(BATCH_MS);
        const fresh = startPush(mesh.inputs);
        assert.deepEqual(versionsOf(incremental), versionsOf(fresh));
        await incremental.close();
        await fresh.close();
        await mesh.close();
      }),
      { numRuns: 60 },
    );
  });

  it("changes one load assignment for one endpoint, and no listener for a route", async () => {
    const mesh = await startMesh();
    for (const app of ["web", "db"]) {
      mesh.take({ do: "write", resource: resource("Service", app, { selector: { app }, ports: [{ name: "http", port: 80, targetPort: 8_080 }] }) });
      mesh.take({ do: "write", resource: resource("WorkloadGroup", app, { metadata: { labels: { app } }, template: { ports: { http: 8_080 } } }) });
    }
    mesh.take({ do: "report", host: "h1", groups: ["default/web", "default/db"], isHealthy: true });
    await mesh.settled();
    const push = startPush(mesh.inputs);
    const changed = (act: () => void): string[] => {
      const before = versionsOf(push);
      act();
      mesh.clock.advance(BATCH_MS);
      const after = versionsOf(push);
      return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((key) => before[key] !== after[key]);
    };
    assert.deepEqual(
      changed(() => mesh.take({ do: "report", host: "h2", groups: ["default/web"], isHealthy: true })).filter((key) => !key.startsWith("h2 ")),
      ["shared ClusterLoadAssignment outbound|80||web.default.svc.mesh.internal"],
    );
    const routed = resource("VirtualService", "web", { hosts: ["web"], http: [{ route: [{ destination: { host: "web" } }], timeout: "1s" }] });
    assert.deepEqual(changed(() => mesh.take({ do: "write", resource: routed })), ["shared VirtualHost 80/web.default.svc.mesh.internal:80"]);
    await push.close();
    await mesh.close();
  });

  it("names the configuration behind a resource", async () => {
    const mesh = await startMesh();
    mesh.take({ do: "write", resource: resource("Service", "web", { selector: { app: "web" }, ports: [{ name: "http", port: 80 }] }) });
    mesh.take({ do: "write", resource: resource("VirtualService", "web", { hosts: ["web"], http: [{ route: [{ destination: { host: "web" } }] }] }) });
    await mesh.settled();
    const push = startPush(mesh.inputs);
    const [virtualHost] = [...push.shared.types()].flatMap((typeUrl) => [...push.shared.list(typeUrl)]).filter(({ typeUrl }) => typeUrl.endsWith("VirtualHost"));
    assert.ok(virtualHost);
    assert.deepEqual(push.causesOf("h1", virtualHost.typeUrl, virtualHost.name), ["VirtualService/default/web"]);
    await push.close();
    await mesh.close();
  });
});

interface Mesh {
  readonly inputs: PushInputs;
  readonly clock: ReturnType<typeof createManualClock>;
  take(step: Step): void;
  settled(): Promise<void>;
  close(): Promise<void>;
}

/** The real parts before the push engine, on a store in memory and a clock that stands. */
async function startMesh(): Promise<Mesh> {
  const clock = createManualClock();
  const store = createMemoryStore();
  const config = new SourceCollection<AnyResource>();
  const statics = createStaticRegistry({ config, meshDomain: "mesh.internal" });
  const agents: AgentsRegistry = createAgentsRegistry({
    templates: statics.templates,
    grants: { allowsGroup: () => true, allowsAddress: () => true },
    store,
    clock,
    liveness: LIVENESS_DEFAULTS,
  });
  await agents.load();
  const vipRanges = ["240.240.0.0/16", "2001:2::/48"] as const;
  const catalog = createCatalog({
    registries: [statics, agents],
    meshDomain: "mesh.internal",
    trustDomain: "mesh.internal",
    vips: await VipAllocator.load({ store, ranges: vipRanges, now: () => clock.now() }),
    onVipFailure: (failure) => assert.fail(String(failure)),
  });
  statics.start();
  agents.start();
  const proxies = followProxyHosts({ hosts: agents.hosts, templates: statics.templates, config, trustDomain: "mesh.internal" });
  const trustBundles = new SourceCollection<string>();
  trustBundles.apply([["mesh.internal", "old root"]]);
  return {
    clock,
    inputs: {
      services: catalog.services,
      endpoints: catalog.endpoints,
      workloads: catalog.workloads,
      names: catalog.names,
      config,
      hosts: proxies.proxies,
      trustBundles,
      settings: {
        meshDomain: "mesh.internal",
        trustDomain: "mesh.internal",
        rootNamespace: "mesh-system",
        defaultMtls: "PERMISSIVE",
        vipRanges,
        unknownDestinations: "allow",
        batchMs: BATCH_MS,
      },
      clock,
    },
    take(one) {
      if ("resource" in one) config.apply([[resourceKey(one.resource), one.do === "write" ? one.resource : undefined]]);
      else if (one.do === "trust") trustBundles.apply([["mesh.internal", one.root]]);
      else if (one.do === "leave") agents.remove(one.host);
      else agents.report(one.host, hostReport(one.groups.map((group) => reported(one.host, group, one.isHealthy))));
    },
    settled: () => catalog.settled(),
    async close() {
      proxies.close();
      await catalog.close();
      await agents.close();
      await statics.close();
      await store.close();
    },
  };
}

function reported(host: string, group: string, isHealthy: boolean): ReturnType<typeof workloadReport> {
  const own = group.slice(group.indexOf("/") + 1);
  return workloadReport({ name: own, group, addresses: [`10.0.${HOSTS.indexOf(host)}.${own.length}`], ports: {}, health: isHealthy ? "healthy" : "unhealthy" });
}

/** Everything that proxies are told: version by set, type and name. */
function versionsOf(push: Push): Record<string, string> {
  const of = (owner: string, set: ResourceSet): [string, string][] =>
    [...set.types()].flatMap((typeUrl) =>
      [...set.list(typeUrl)].map((one): [string, string] => [`${owner} ${typeUrl.slice(typeUrl.lastIndexOf(".") + 1)} ${one.name}`, one.version]),
    );
  const sets = [of("shared", push.shared), ...HOSTS.map((host) => of(host, push.setOf(host)))];
  return Object.fromEntries(sets.flat().sort(([left], [right]) => (left < right ? -1 : 1)));
}
