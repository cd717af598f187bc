import assert from "node:assert/strict";
import fc from "fast-check";
import { type Change, SourceCollection } from "../../../../base/collection.ts";
import { ADDRESS_PATIENCE_MS } from "../../../../discovery/catalog/awaited-addresses.ts";
import { followAddressedServices } from "../../../../discovery/push/addressed-services.ts";
import { startPush } from "../../../../discovery/push/push.ts";
import type { Service } from "../../../../model/service.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import { TYPE_URLS } from "../../../../xds/type-urls.ts";
import { createFailingStore } from "../../../support/failing-store.ts";
import { foreignService, PlainRegistry } from "../../../support/plain-registry.ts";
import { BATCH_MS, type Mesh, startMesh } from "../../../support/push-mesh.ts";
import { resource } from "../../../support/resource.ts";

const write = (mesh: Mesh, app: string): void =>
  mesh.take({ do: "write", resource: resource("Service", app, { selector: { app }, ports: [{ name: "http", port: 80 }] }) });
const HOST = "80/web.default.svc.mesh.internal:80";

describe("services whose virtual address is on its way", () => {
  it("are translated once, with it; who refers to them is told then", async () => {
    const mesh = await startMesh();
    write(mesh, "db");
    mesh.take({ do: "write", resource: resource("VirtualService", "db", { hosts: ["db"], http: [{ route: [{ destination: { host: "web" } }] }] }) });
    await mesh.settled();
    const push = startPush(mesh.inputs);
    const clusterOfDb = (): string | undefined => {
      const action = push.outboundIr("default/db")?.virtualHosts[0]?.routes[0]?.action;
      return action?.kind === "forward" ? action.clusters[0]?.cluster : undefined;
    };
    const told: string[] = [];
    push.shared.watch((changes) => told.push(...(changes.get(TYPE_URLS.virtualHost) ?? [])));
    const nowhere = clusterOfDb();
    write(mesh, "web");
    push.flush();
    assert.deepEqual([told, push.outboundIr("default/web"), clusterOfDb()], [[], undefined, nowhere]);
    await mesh.settled();
    mesh.clock.advance(BATCH_MS);
    assert.deepEqual(told.filter((name) => name === HOST), [HOST]);
    assert.equal(push.outboundIr("default/web")?.virtualHosts[0]?.domains.some((domain) => domain.startsWith("240.240.")), true);
    assert.equal(clusterOfDb(), "outbound|80||web.default.svc.mesh.internal");
    await push.close();
    await mesh.close();
  });

  it("are served by name where it cannot be allocated, and with it once it can", async () => {
    const store = createFailingStore(createMemoryStore());
    const failures: unknown[] = [];
    const mesh = await startMesh({ store, onVipFailure: (failure) => void failures.push(failure) });
    const push = startPush(mesh.inputs);
    store.isBroken = true;
    write(mesh, "web");
    await mesh.settled();
    mesh.clock.advance(BATCH_MS);
    assert.equal(failures.length, 1);
    assert.deepEqual(push.outboundIr("default/web")?.virtualHosts[0]?.domains.filter((domain) => domain.startsWith("240.")), []);
    assert.ok(push.shared.get(TYPE_URLS.virtualHost, HOST), "by name");
    store.isBroken = false;
    mesh.clock.advance(30_000);
    await mesh.settled();
    mesh.clock.advance(BATCH_MS);
    assert.equal(push.outboundIr("default/web")?.virtualHosts[0]?.domains.filter((domain) => domain.startsWith("240.")).length, 1);
    await push.close();
    await mesh.close();
  });

  it("are served by name where the store takes its time", async () => {
    const { promise: written, resolve: goOn } = Promise.withResolvers<void>();
    const memory = createMemoryStore();
    const mesh = await startMesh({ store: { ...memory, txn: async (...about) => written.then(() => memory.txn(...about)) } });
    const push = startPush(mesh.inputs);
    write(mesh, "web");
    mesh.clock.advance(ADDRESS_PATIENCE_MS - 1);
    assert.equal(push.shared.get(TYPE_URLS.virtualHost, HOST), undefined);
    mesh.clock.advance(1 + BATCH_MS);
    assert.ok(push.shared.get(TYPE_URLS.virtualHost, HOST), "patience has ended");
    goOn();
    await mesh.settled();
    await push.close();
    await mesh.close();
  });

  it("do not wait where they take a name over: somebody is always served by it", async () => {
    const { promise: written, resolve: goOn } = Promise.withResolvers<void>();
    const memory = createMemoryStore();
    const east = new PlainRegistry("east");
    const mesh = await startMesh({ others: [east], store: { ...memory, txn: async (...about) => written.then(() => memory.txn(...about)) } });
    mesh.take({
      do: "write",
      resource: resource("ServiceEntry", "web", { hosts: ["web.shop.svc.mesh.internal"], resolution: "STATIC", ports: [{ number: 80, name: "http", protocol: "HTTP" }], endpoints: [{ address: "192.0.2.1" }] }),
    });
    const push = startPush(mesh.inputs);
    mesh.clock.advance(ADDRESS_PATIENCE_MS);
    mesh.clock.advance(BATCH_MS);
    const owner = (): string[] => ["default/web.shop.svc.mesh.internal", "shop/web"].filter((key) => push.outboundIr(key) !== undefined);
    assert.deepEqual(owner(), ["default/web.shop.svc.mesh.internal"]);
    const absences: string[] = [];
    push.shared.watch(() => {
      const name = "80/web.shop.svc.mesh.internal:80";
      if (push.shared.get(TYPE_URLS.virtualHost, name) === undefined) absences.push(name);
    });
    east.services.apply([["web", foreignService("shop", "web")]]);
    mesh.clock.advance(BATCH_MS);
    assert.deepEqual([owner(), absences], [["shop/web"], []]);
    // And back.
    east.services.apply([["web", undefined]]);
    mesh.clock.advance(BATCH_MS);
    assert.deepEqual([owner(), absences], [["default/web.shop.svc.mesh.internal"], []]);
    goOn();
    await mesh.settled();
    await push.close();
    await mesh.close();
  });

  it("are there as soon as they need not wait, and stay whatever happens to their address (property)", () => {
    const keys = fc.constantFrom("a", "b", "c");
    const event = fc.oneof(
      fc.record({ do: fc.constant("service" as const), key: keys, there: fc.boolean(), port: fc.integer({ min: 1, max: 2 }) }),
      fc.record({ do: fc.constant("await" as const), key: keys, there: fc.boolean() }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), fc.nat(40), (events, startAt) => {
        const services = new SourceCollection<Service>();
        const awaiting = new SourceCollection<true>();
        const told = new Map<string, Service>();
        const model = new Set<string>();
        const take = (one: (typeof events)[number]): void => {
          if (one.do === "await") awaiting.apply([[one.key, one.there ? true : undefined]]);
          else services.apply([[one.key, one.there ? serviceWith(one.port) : undefined]]);
        };
        const settle = (): void => {
          for (const key of ["a", "b", "c"]) {
            if (services.get(key) === undefined) model.delete(key);
            else if (awaiting.get(key) === undefined) model.add(key);
          }
        };
        events.slice(0, startAt).forEach(take);
        settle();
        const addressed = followAddressedServices(services, awaiting, (changes: readonly Change<Service>[]) => {
          for (const { key, before, after } of changes) {
            assert.equal(before, told.get(key));
            if (after === undefined) assert.ok(told.delete(key));
            else told.set(key, after);
          }
        });
        for (const [key, service] of addressed.entries()) told.set(key, service);
        for (const one of events.slice(startAt)) {
          take(one);
          settle();
          assert.deepEqual([...told.keys()].sort(), [...model].sort());
          assert.deepEqual(new Map(addressed.entries()), told);
          for (const [key, service] of told) assert.equal(service, services.get(key));
        }
        addressed.close();
      }),
    );
  });
});

function serviceWith(port: number): Service {
  return { ports: [{ number: port }] } as unknown as Service;
}
