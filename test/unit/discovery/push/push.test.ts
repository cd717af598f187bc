import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { LEAVING_MS } from "../../../../discovery/push/leaving-identities.ts";
import { type Push, startPush } from "../../../../discovery/push/push.ts";
import { hostReport, workloadReport } from "../../../support/host-report.ts";
import { BATCH_MS, HOSTS, startMesh } from "../../../support/push-mesh.ts";
import { meshSteps } from "../../../support/push-steps.ts";
import type { Workload } from "../../../../model/workload.ts";
import { foreignService, PlainRegistry, plainWorkload } from "../../../support/plain-registry.ts";
import { resource } from "../../../support/resource.ts";
import { addressesOf, createSlices, endpointsOf } from "../../../support/push-slices.ts";
import { versionsOf } from "../../../support/pushed-versions.ts";
import { TYPE_URLS } from "../../../../xds/type-urls.ts";

describe("startPush", () => {
  it("ends where a fresh start over the final state ends, after any sequence of changes", async () => {
    await fc.assert(
      fc.asyncProperty(meshSteps, async (steps) => {
        const mesh = await startMesh();
        const incremental = startPush(mesh.inputs);
        for (const [one, isBatchEnd] of steps) {
          mesh.take(one);
          await mesh.settled();
          if (isBatchEnd) mesh.clock.advance(BATCH_MS);
        }
        // What endpoints carried before is forgotten by then.
        mesh.clock.advance(LEAVING_MS);
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

  it("shares what was true at one moment, with listeners for it, whatever changes while it is built; all in the end, and endpoints before the rest (property)", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(meshSteps, fc.nat(12)), { maxLength: 6 }), async (rounds) => {
        const mesh = await startMesh();
        const slices = createSlices(mesh.clock);
        const push = startPush({ ...mesh.inputs, clock: slices.clock });
        const written: (readonly [typeUrl: string, name: string])[] = [];
        for (const set of [push.shared, ...HOSTS.map((host) => push.setOf(host))]) {
          set.watch((changes) => changes.forEach((names, typeUrl) => names.forEach((name) => written.push([typeUrl, name]))));
        }
        const moments: Moment[] = [];
        const remember = async (): Promise<void> => {
          const fresh = startPush(mesh.inputs);
          moments.push(momentOf(fresh));
          await fresh.close();
        };
        const check = (): void => {
          const news = written.splice(0);
          if (news.length === 0) return;
          if (slices.isWaiting()) {
            const all = [...mesh.inputs.endpoints.entries().values()].flat();
            const places = all.map(({ address, health }) => `${address} ${health.toUpperCase()}`);
            for (const [typeUrl, name] of news) {
              if (typeUrl === TYPE_URLS.nameRecord) {
                for (const one of addressesOf(push, name)) assert.ok(all.some(({ address }) => address === one), one);
              } else {
                assert.equal(typeUrl, TYPE_URLS.clusterLoadAssignment);
                for (const one of endpointsOf(push, name)) assert.ok(places.includes(one), one);
              }
            }
          }
          const now = momentOf(push);
          assert.ok(moments.some((then) => areOfOneMoment(now, then)));
        };
        const compare = async (): Promise<void> => {
          for (; slices.runOne(); mesh.clock.advance(slices.isWaiting() ? 0 : BATCH_MS)) check();
          const fresh = startPush(mesh.inputs);
          // Identities that were there before are taken for a while; what is new does not know them.
          assert.deepEqual(versionsOf(push, "Secret"), versionsOf(fresh, "Secret"));
          await fresh.close();
        };
        for (const [steps, count] of rounds) {
          for (const [one, isBatchEnd] of steps) {
            mesh.take(one);
            await mesh.settled();
            await remember();
            if (isBatchEnd) mesh.clock.advance(BATCH_MS);
            check();
            for (let slice = 0; slice < count && slices.runOne(); slice += 1) check();
          }
          mesh.clock.advance(BATCH_MS);
          check();
          if (count % 2 === 0) await compare();
        }
        for (const untilMs of [LEAVING_MS, BATCH_MS, BATCH_MS]) {
          mesh.clock.advance(untilMs);
          check();
          while (slices.runOne()) check();
        }
        const fresh = startPush(mesh.inputs);
        assert.deepEqual(versionsOf(push), versionsOf(fresh));
        await fresh.close();
        await push.close();
        await mesh.close();
      }),
      { numRuns: 25 },
    );
  });

  it("does not put off what came for what comes all the time, where hosts take longer to build", async () => {
    const mesh = await startMesh();
    mesh.take({ do: "write", resource: resource("WorkloadGroup", "client", { template: {} }) });
    for (let at = 1; at <= 40; at += 1) {
      mesh.hosts.report(`host-${at}`, hostReport([workloadReport({ name: "client", group: "default/client", addresses: [`10.9.0.${at}`] })]));
    }
    await mesh.settled();
    const slices = createSlices(mesh.clock);
    const push = startPush({ ...mesh.inputs, clock: slices.clock });
    let [writes, slice] = [0, 0];
    push.setOf("host-1").watch(() => (writes += 1));
    for (; writes < 3 && slice < 400; slice += 1) {
      if (slice % 20 === 0) {
        mesh.take({ do: "write", resource: resource("Service", `db-${slice}`, { selector: { app: "db" }, ports: [{ name: "tcp", port: 5_432 }] }) });
        await mesh.settled();
      }
      if (!slices.runOne()) mesh.clock.advance(BATCH_MS);
    }
    assert.equal(writes, 3, `${slice} slices`);
    await push.close();
    await mesh.close();
  });

  it("tells proxies nothing of zone hints", async () => {
    const east = new PlainRegistry("east");
    const put = (changes: Partial<Workload>): void =>
      east.services.apply([["web", foreignService("east-shop", "web", { backends: { kind: "explicit", workloads: [plainWorkload("10.0.0.1", { ports: { "": 8_080 }, ...changes })] } })]]);
    put({});
    const mesh = await startMesh({ others: [east] });
    await mesh.settled();
    const push = startPush(mesh.inputs);
    const told = (): Record<string, string> => {
      mesh.clock.advance(BATCH_MS);
      return versionsOf(push);
    };
    const before = told();
    assert.ok("shared ClusterLoadAssignment outbound|80||web.east-shop.svc.mesh.internal" in before);
    for (const zoneHints of [["eu-1"], ["eu-1", "eu-2"], ["eu-3"]]) {
      put({ zoneHints });
      assert.deepEqual(mesh.inputs.endpoints.get("east-shop/web")?.map((endpoint) => endpoint.zoneHints), [zoneHints]);
      assert.deepEqual(told(), before);
    }
    put({ zoneHints: ["eu-3"], locality: { region: "eu", zone: "eu-3", subZone: "" } });
    assert.notDeepEqual(told(), before, "where it is they are told");
    await push.close();
    await mesh.close();
  });

  it("finds a joined service by address where it can and else by name, and changes a cluster for neither's endpoints", async () => {
    const [east, consul] = [new PlainRegistry("east"), new PlainRegistry("consul")];
    const put = (registry: PlainRegistry, resolution: "static" | "dns", ...addresses: string[]): void => {
      const workloads = addresses.map((address) => plainWorkload(address, { ports: { "": 8_080 } }));
      registry.services.apply([["web", foreignService(registry.name, "web", { resolution, backends: { kind: "explicit", workloads }, source: { registry: registry.name, object: "web" } })]]);
    };
    put(east, "dns", "web.example.com");
    put(consul, "static", "10.0.0.1");
    const mesh = await startMesh({ others: [east, consul], sameness: [{ of: ["east", "consul"].map((registry) => ({ registry, namespace: registry, name: "web" })), allowPlaintext: true }] });
    await mesh.settled();
    const push = startPush(mesh.inputs);
    const name = "outbound|80||web.east.svc.mesh.internal";
    const [cluster, assignment] = [`shared Cluster ${name}`, `shared ClusterLoadAssignment ${name}`];
    const changedBy = (act: () => void): string[] => {
      const before = versionsOf(push);
      act();
      mesh.clock.advance(BATCH_MS);
      const after = versionsOf(push);
      return Object.keys({ ...before, ...after }).filter((key) => before[key] !== after[key]).sort();
    };
    const found = (): unknown => push.outboundIr("east/web")?.clusters.map(({ discovery, dnsEndpoints }) => [discovery, dnsEndpoints.map(({ address }) => address)]);
    assert.deepEqual(found(), [["eds", []]]);
    assert.deepEqual(changedBy(() => put(consul, "static", "10.0.0.1", "10.0.0.2")), [assignment]);
    assert.deepEqual(changedBy(() => put(east, "dns", "other.example.com")), []);
    // The listeners and routes that lead to it stay as they are.
    assert.deepEqual(changedBy(() => put(consul, "static")), [cluster, assignment]);
    assert.deepEqual([found(), assignment in versionsOf(push)], [[["strict-dns", ["other.example.com"]]], false]);
    assert.deepEqual(changedBy(() => put(consul, "static", "10.0.0.3")), [cluster, assignment]);
    assert.deepEqual(found(), [["eds", []]]);
    await push.close();
    await mesh.close();
  });

  it("routes to a wildcard as soon as there is one for the host, and no longer", async () => {
    const mesh = await startMesh();
    mesh.take({ do: "write", resource: resource("Service", "web", { selector: { app: "web" }, ports: [{ name: "http", port: 80 }] }) });
    mesh.take({ do: "write", resource: resource("VirtualService", "web", { hosts: ["web"], http: [{ route: [{ destination: { host: "api.example.com", port: { number: 80 } } }] }] }) });
    await mesh.settled();
    const push = startPush(mesh.inputs);
    const clusterOf = (): string | undefined => {
      const action = push.outboundIr("default/web")?.virtualHosts[0]?.routes[0]?.action;
      return action?.kind === "forward" ? action.clusters[0]?.cluster : undefined;
    };
    const wildcard = (host: string) => resource("ServiceEntry", host.length.toString(), { hosts: [host], location: "MESH_EXTERNAL", resolution: "NONE", ports: [{ number: 80, name: "http", protocol: "HTTP" }] });
    const after = (what: "write" | "delete", host: string): string | undefined => {
      mesh.take({ do: what, resource: wildcard(host) });
      mesh.clock.advance(BATCH_MS);
      return clusterOf();
    };
    const nowhere = clusterOf();
    assert.equal(after("write", "*.com"), "outbound|80||*.com");
    assert.equal(after("write", "*.example.com"), "outbound|80||*.example.com");
    assert.equal(after("delete", "*.example.com"), "outbound|80||*.com");
    assert.equal(after("delete", "*.com"), nowhere);
    await push.close();
    await mesh.close();
  });

  it("takes the identity that endpoints had before for a while, and no longer", async () => {
    const mesh = await startMesh();
    const group = (serviceAccount: string) => resource("WorkloadGroup", "web", { metadata: { labels: { app: "web" } }, template: { ports: { http: 8_080 }, serviceAccount } });
    mesh.take({ do: "write", resource: resource("Service", "web", { selector: { app: "web" }, ports: [{ name: "http", port: 80, targetPort: 8_080 }] }) });
    mesh.take({ do: "write", resource: group("old") });
    mesh.take({ do: "report", host: "h1", groups: ["default/web"], isHealthy: true });
    await mesh.settled();
    const push = startPush(mesh.inputs);
    const accepted = (ms: number): string[] => {
      mesh.clock.advance(ms);
      return (push.outboundIr("default/web")?.validation?.identities ?? []).map((identity) => identity.slice(identity.lastIndexOf("/") + 1));
    };
    assert.deepEqual(accepted(BATCH_MS), ["old"]);
    mesh.take({ do: "write", resource: group("new") });
    assert.deepEqual(accepted(LEAVING_MS / 2), ["new", "old"]);
    mesh.take({ do: "write", resource: group("newer") });
    assert.deepEqual(accepted(BATCH_MS), ["new", "newer", "old"]);
    accepted(LEAVING_MS / 2);
    assert.deepEqual(accepted(BATCH_MS), ["new", "newer"]);
    mesh.take({ do: "write", resource: group("new") });
    assert.deepEqual(accepted(BATCH_MS), ["new", "newer"]);
    accepted(LEAVING_MS);
    assert.deepEqual(accepted(BATCH_MS), ["new"]);
    mesh.take({ do: "leave", host: "h1" });
    assert.deepEqual(accepted(BATCH_MS), []);
    await push.close();
    await mesh.close();
  });

  it("takes no identity of a workload that is gone, as when its host was revoked", async () => {
    const mesh = await startMesh();
    mesh.take({ do: "write", resource: resource("Service", "web", { selector: { app: "web" }, ports: [{ name: "http", port: 80, targetPort: 8_080 }] }) });
    for (const account of ["one", "two"]) {
      mesh.take({ do: "write", resource: resource("WorkloadGroup", account, { metadata: { labels: { app: "web" } }, template: { ports: { http: 8_080 }, serviceAccount: account } }) });
    }
    mesh.take({ do: "report", host: "h1", groups: ["default/one"], isHealthy: true });
    mesh.take({ do: "report", host: "h2", groups: ["default/two"], isHealthy: true });
    await mesh.settled();
    const push = startPush(mesh.inputs);
    assert.equal(push.outboundIr("default/web")?.validation?.identities.length, 2);
    mesh.take({ do: "leave", host: "h2" });
    mesh.clock.advance(BATCH_MS);
    assert.deepEqual(push.outboundIr("default/web")?.validation?.identities, ["spiffe://mesh.internal/ns/default/sa/one"]);
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

interface Moment {
  readonly shared: Readonly<Record<string, string>>;
  /** By outbound listener, the clusters that it names. */
  readonly named: ReadonlyMap<string, string>;
}

/** What is shared, and what listeners take of it. Identities aside, and what is written ahead: load assignments, and names that follow endpoints. */
function momentOf(push: Push): Moment {
  const shared = Object.entries(versionsOf(push, "Secret")).filter(([key]) => key.startsWith("shared ") && !key.startsWith("shared ClusterLoadAssignment") && key !== "shared NameRecord api.example.com");
  const listeners = HOSTS.flatMap((host) => [...push.setOf(host).list(TYPE_URLS.listener)].map(({ name, bytes }) => [`${host} ${name}`, Buffer.from(bytes).toString("latin1")] as const));
  return { shared: Object.fromEntries(shared), named: new Map(listeners.map(([key, text]) => [key, (text.match(/outbound\|\d+\|[\w-]*\|[\w.*-]+/gu) ?? []).join()])) };
}

function areOfOneMoment(now: Moment, then: Moment): boolean {
  return isDeepStrictEqual(now.shared, then.shared) && [...now.named].every(([listener, clusters]) => (then.named.get(listener) ?? clusters) === clusters);
}
