import assert from "node:assert/strict";
import { createSelection, type SelectionSettings } from "../../../../../../discovery/registry/consul/publish/selection.ts";
import type { Endpoint } from "../../../../../../model/endpoint.ts";
import type { Service } from "../../../../../../model/service.ts";
import { hostEndpoint, meshService } from "../../../../../support/published-catalog.ts";

const SETTINGS: SelectionSettings = { from: ["hosts"], nameTemplate: "{name}", tags: [] };

function select(content: readonly (readonly [Service, readonly Endpoint[]])[], changes: Partial<SelectionSettings> = {}, holders: Readonly<Record<string, string>> = {}) {
  const endpoints = new Map(content.map(([{ namespace, name }, served]) => [`${namespace}/${name}`, served]));
  return createSelection({ ...SETTINGS, ...changes })(
    { services: new Map(content.map(([service]) => [`${service.namespace}/${service.name}`, service])), endpointsOf: (key) => endpoints.get(key) ?? [], healthDetailOf: (key) => (key === "hosts/h2/app" ? "GET /: 503\u001b[31m" : undefined) },
    new Map(Object.entries(holders)),
  );
}

describe("what is published in consul", () => {
  it("is an instance for each workload of a host, in Consul's words", () => {
    const ports = [{ name: "http", number: 80, protocol: "HTTP" }, { name: "admin", number: 90, protocol: "TCP" }] as const;
    const { instances, notes } = select(
      [[meshService("web", { ports }), [
        hostEndpoint("h1", "fd00::1", { weight: 3, additionalAddresses: ["10.0.0.1"] }),
        hostEndpoint("h1", "10.0.0.1", { servicePort: 90, port: 9_090 }),
        hostEndpoint("h2", "10.0.0.2", { health: "unhealthy" }),
      ]]],
      { tags: ["mesh", "a"] },
    );
    assert.deepEqual(instances.map(({ id, origin, record, output }) => ({ id, origin, record, output })), [
      {
        id: "ironmesh/default/web/hosts/h1/app",
        origin: "default/web",
        output: "healthy in the mesh",
        record: {
          service: "web",
          address: "10.0.0.1",
          port: 8_080,
          tags: ["a", "mesh"],
          meta: { "port-http": "8080", "port-admin": "9090", protocol: "http", "external-source": "ironmesh", "ironmesh-service": "default/web" },
          weight: 3,
          status: "passing",
        },
      },
      {
        id: "ironmesh/default/web/hosts/h2/app",
        origin: "default/web",
        output: "unhealthy in the mesh: GET /: 503?[31m",
        record: {
          service: "web",
          address: "10.0.0.2",
          port: 8_080,
          tags: ["a", "mesh"],
          meta: { "port-http": "8080", protocol: "http", "external-source": "ironmesh", "ironmesh-service": "default/web" },
          weight: 1,
          status: "critical",
        },
      },
    ]);
    assert.deepEqual(notes, []);
  });

  for (const [health, status] of [["healthy", "passing"], ["unknown", "passing"], ["unhealthy", "critical"], ["draining", "critical"]] as const) {
    it(`is ${status} where the mesh says ${health}`, () => {
      const [instance] = select([[meshService("web"), [hostEndpoint("h1", "10.0.0.1", { health })]]]).instances;
      assert.equal(instance?.record.status, status);
    });
  }

  it("is of the registries, namespaces and labels that are asked for, and of nothing else", () => {
    const plain = hostEndpoint("vm", "10.0.0.9", { workload: "static/vm", source: { registry: "static", object: "vm" } });
    const content = [
      [meshService("web", { labels: { expose: "yes" } }), [hostEndpoint("h1", "10.0.0.1"), plain]],
      [meshService("db", { namespace: "shop" }), [hostEndpoint("h1", "10.0.0.1")]],
      [meshService("old"), [plain]],
      [meshService("empty"), []],
    ] as const;
    const idsOf = (changes: Partial<SelectionSettings>): string[] => select(content, changes).instances.map(({ id }) => id);
    assert.deepEqual(idsOf({}), ["ironmesh/default/web/hosts/h1/app", "ironmesh/shop/db/hosts/h1/app"]);
    assert.deepEqual(idsOf({ from: ["static"] }), ["ironmesh/default/old/static/vm", "ironmesh/default/web/static/vm"]);
    assert.deepEqual(idsOf({ namespaces: ["shop"] }), ["ironmesh/shop/db/hosts/h1/app"]);
    assert.deepEqual(idsOf({ selector: { expose: "yes" } }), ["ironmesh/default/web/hosts/h1/app"]);
  });

  it("says what cannot be published, and why", () => {
    const { instances, notes } = select([
      [meshService("under_score"), [hostEndpoint("h1", "10.0.0.1")]],
      [meshService("private", { exportTo: ["."] }), [hostEndpoint("h1", "10.0.0.1")]],
      [meshService("web"), [hostEndpoint("h1", "10.0.0.1", { network: "far" }), hostEndpoint("h2", "db.example.com"), hostEndpoint("h3", "10.0.0.3", { servicePort: 81 })]],
    ]);
    assert.deepEqual(instances, []);
    assert.deepEqual(notes, [
      "app.h1 of default/web is not published: it is in the network far",
      "app.h2 of default/web is not published: it has the host name db.example.com for an address",
      "app.h3 of default/web is not published: it has no port 80",
      "default/private is not published: its exportTo keeps it to some namespaces",
      "default/under_score is not published: under_score is no name for Consul's DNS",
    ]);
  });

  it("gives a name to one service: to the one that has it in Consul, else to the first", () => {
    const content = [[meshService("web"), [hostEndpoint("h1", "10.0.0.1")]], [meshService("web", { namespace: "a" }), [hostEndpoint("h2", "10.0.0.2")]]] as const;
    const first = select(content);
    assert.deepEqual(first.instances.map(({ origin }) => origin), ["a/web"]);
    assert.match(first.notes.join(), /^default\/web is not published: a\/web has the name web/);
    assert.deepEqual(select(content, {}, { web: "default/web" }).instances.map(({ origin }) => origin), ["default/web"]);
    assert.deepEqual(select(content, { nameTemplate: "{namespace}-{name}" }).instances.map(({ record }) => record.service), ["a-web", "default-web"]);
  });

  it("keeps a name for a service that has no instance for the moment, and for none that is gone", () => {
    const [web, other] = [meshService("web"), meshService("web", { namespace: "a" })];
    const publish = createSelection(SETTINGS);
    const origins = (services: readonly Service[], served: readonly Service[]): string[] => {
      const view = {
        services: new Map(services.map((service) => [`${service.namespace}/${service.name}`, service])),
        endpointsOf: (key: string) => (served.some(({ namespace, name }) => key === `${namespace}/${name}`) ? [hostEndpoint("h1", "10.0.0.1")] : []),
        healthDetailOf: () => undefined,
      };
      return publish(view, new Map()).instances.map(({ origin }) => origin);
    };
    assert.deepEqual(origins([web], [web]), ["default/web"]);
    assert.deepEqual(origins([web, other], [web, other]), ["default/web"]);
    assert.deepEqual(origins([web, other], [other]), [], "its callers would reach another application");
    assert.deepEqual(origins([web, other], [web, other]), ["default/web"]);
    assert.deepEqual(origins([other], [other]), ["a/web"]);
  });
});
