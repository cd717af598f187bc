import assert from "node:assert/strict";
import { fromBinary } from "@bufbuild/protobuf";
import { SourceCollection } from "../../../../base/collection.ts";
import { Names } from "../../../../discovery/catalog/names.ts";
import { type Push, startPush } from "../../../../discovery/push/push.ts";
import type { Endpoint } from "../../../../model/endpoint.ts";
import { type Service, serviceKey } from "../../../../model/service.ts";
import { NO_LOCALITY } from "../../../../model/workload.ts";
import { NameRecordSchema } from "../../../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { TYPE_URLS } from "../../../../xds/type-urls.ts";
import { BATCH_MS, type Mesh, startMesh } from "../../../support/push-mesh.ts";

function service(name: string, changes: Partial<Service> = {}): Service {
  return {
    namespace: "east-shop",
    name,
    hostname: `${name}.east-shop.svc.mesh.internal`,
    aliases: [`${name}.shop.svc.cluster.local`],
    ports: [{ name: "http", number: 80, protocol: "HTTP" }, { name: "db", number: 5_432, protocol: "TCP" }],
    resolution: "static",
    external: true,
    vips: ["240.240.0.7", "2001:2::7"],
    labels: {},
    subjectAltNames: [],
    exportTo: ["*"],
    source: { registry: "east", object: `shop/${name}` },
    ...changes,
  };
}

function endpoint(address: string, health: Endpoint["health"] = "healthy"): Endpoint {
  return { servicePort: 80, address, port: 80, workload: address, workloadName: address, labels: {}, locality: NO_LOCALITY, network: "", weight: 1, health, meshed: false, source: { registry: "static", object: address } };
}

describe("names that agents answer", () => {
  let mesh: Mesh;
  let push: Push;
  const services = new SourceCollection<Service>();
  const endpoints = new SourceCollection<readonly Endpoint[]>();
  let names: Names;

  const write = (...written: readonly Service[]): void => {
    names.apply(written.map((one) => ({ key: serviceKey(one), after: { hosts: [one.hostname, ...one.aliases], shortHosts: [], addresses: one.vips, isCanonical: true, precedence: one.namespace === "west-shop" ? 1 : 0 } })));
    services.apply(written.map((one) => [serviceKey(one), one]));
    mesh.clock.advance(BATCH_MS);
  };
  const remove = (one: Service): void => {
    names.apply([{ key: serviceKey(one) }]);
    services.apply([[serviceKey(one), undefined]]);
    mesh.clock.advance(BATCH_MS);
  };
  const serve = (one: Service, ...served: readonly Endpoint[]): void => {
    endpoints.apply([[serviceKey(one), served]]);
    mesh.clock.advance(BATCH_MS);
  };
  const told = (): Record<string, { addresses: string[]; aliases: string[]; ports: string[] }> =>
    Object.fromEntries(
      [...push.shared.list(TYPE_URLS.nameRecord)].map((resource) => {
        const { name, addresses, aliases, ports } = fromBinary(NameRecordSchema, resource.bytes);
        return [name, { addresses, aliases, ports: ports.map((port) => `${port.name} ${port.number} ${port.protocol}`) }];
      }),
    );

  beforeEach(async () => {
    mesh = await startMesh();
    names = new Names();
    push = startPush({ ...mesh.inputs, services, endpoints, names });
  });
  afterEach(async () => {
    for (const key of services.entries().keys()) services.apply([[key, undefined]]);
    await push.close();
    await mesh.close();
  });

  it("are a service's own, with its ports, and the native ones that it owns", () => {
    const east = service("web");
    const west = service("web", { namespace: "west-shop", hostname: "web.west-shop.svc.mesh.internal", vips: ["240.240.0.8"] });
    write(east, west);
    const ports = ["http 80 HTTP", "db 5432 TCP"];
    assert.deepEqual(told(), {
      "web.east-shop.svc.mesh.internal": { addresses: ["240.240.0.7", "2001:2::7"], aliases: ["web.shop.svc.cluster.local"], ports },
      "web.west-shop.svc.mesh.internal": { addresses: ["240.240.0.8"], aliases: [], ports },
    });
    remove(east);
    assert.deepEqual(told()["web.west-shop.svc.mesh.internal"]?.aliases, ["web.shop.svc.cluster.local"], "the name changed hands");
    write(east);
    assert.deepEqual(told()["web.west-shop.svc.mesh.internal"]?.aliases, []);
  });

  it("of declared hosts have their own addresses, else their endpoints', and follow these", () => {
    const declared = service("old.example.com", { hostname: "old.example.com", aliases: [], vips: [] });
    write(declared);
    assert.deepEqual(told(), {});
    serve(declared, endpoint("10.0.0.2"), endpoint("10.0.0.1"), endpoint("fd00::1"), endpoint("10.0.0.3", "unhealthy"), endpoint("db.internal"));
    assert.deepEqual(told()["old.example.com"]?.addresses, ["10.0.0.1", "10.0.0.2", "fd00::1"]);
    serve(declared, endpoint("10.0.0.3", "unhealthy"));
    assert.deepEqual(told()["old.example.com"]?.addresses, ["10.0.0.3"], "somebody is tried");
    serve(declared, ...Array.from({ length: 40 }, (_, index) => endpoint(`10.0.0.${index}`)));
    assert.equal(told()["old.example.com"]?.addresses.length, 16);
    write(service("old.example.com", { hostname: "old.example.com", aliases: [], vips: ["10.99.0.1"] }));
    assert.deepEqual(told()["old.example.com"]?.addresses, ["10.99.0.1"]);
  });

  it("are none for what is looked up elsewhere, or has no address yet", () => {
    for (const none of [
      service("a.example.com", { hostname: "a.example.com", vips: [], resolution: "dns" }),
      service("b.example.com", { hostname: "b.example.com", vips: [], resolution: "passthrough" }),
      service("*.example.com", { hostname: "*.example.com", vips: ["10.0.0.1"] }),
      service("young", { vips: [] }),
    ]) {
      write(none);
      serve(none, endpoint("10.0.0.1"));
      assert.deepEqual(told(), {}, none.hostname);
      remove(none);
    }
  });
});
