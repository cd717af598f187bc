import assert from "node:assert/strict";
import { healthAnswerSchema } from "../../../../../discovery/registry/consul/entry.ts";
import { buildConsulService } from "../../../../../discovery/registry/consul/service.ts";
import type { ServiceSettings } from "../../../../../discovery/registry/consul/service.ts";
import type { RegistryService } from "../../../../../discovery/registry/registry.ts";
import type { Workload } from "../../../../../model/workload.ts";
import { entryOf } from "../../../../fakes/consul-server.ts";
import type { FakeInstance } from "../../../../fakes/consul-server.ts";

const settings: ServiceSettings = {
  registry: "consul",
  namespace: "consul",
  meshDomain: "mesh.internal",
  addressTag: "",
  network: "",
  dnsDomain: "consul",
  ignoredSources: ["kubernetes"],
};

type Shape = Omit<FakeInstance, "id" | "service"> & { readonly id?: string };

function build(shapes: readonly Shape[], changes: Partial<ServiceSettings> = {}): RegistryService | undefined {
  const entries = healthAnswerSchema.parse(shapes.map((shape, at) => entryOf({ id: `web-${at}`, service: "Web", ...shape })));
  return buildConsulService("Web", entries, { ...settings, ...changes });
}

function instancesOf(service: RegistryService | undefined): readonly Workload[] {
  return service?.backends.kind === "explicit" ? service.backends.workloads : [];
}

function check(status: string, id = "c1", output = "why\nmore"): NonNullable<FakeInstance["checks"]>[number] {
  return { CheckID: id, Name: "probe", Status: status, Output: output };
}

/** As Consul writes it: the operator's reason is among the notes. */
function maintenance(id: string, reason: string): NonNullable<FakeInstance["checks"]>[number] {
  return { ...check("critical", id, ""), Notes: reason };
}

describe("consul service", () => {
  it("is named after itself, in lower case, with Consul's names as aliases", () => {
    const service = build([{ port: 80 }]);
    assert.equal(service?.hostname, "web.consul.svc.mesh.internal");
    assert.deepEqual(service?.aliases, ["web.service.dc1.consul", "web.service.consul"]);
    assert.deepEqual(build([{ port: 80 }], { datacenter: "dc1" })?.aliases, ["web.service.dc1.consul"]);
  });

  it("gives its instances no identity, whatever they claim", () => {
    const [instance] = instancesOf(build([{ port: 80, meta: { serviceAccount: "admin" } }]));
    assert.equal(instance?.meshed, false);
    assert.equal(instance?.serviceAccount, "");
  });

  it("keys instances by datacenter, partition, namespace, node and id", () => {
    const service = build([{ id: "web", node: "n1", port: 80 }, { id: "web", node: "n2", port: 80 }]);
    assert.deepEqual(instancesOf(service).map(({ key }) => key), ["consul/dc1///n1/web", "consul/dc1///n2/web"]);
  });

  it("takes the service's address, else the node's, else what the settings prefer", () => {
    assert.deepEqual(instancesOf(build([{ port: 80, address: "10.1.1.1" }, { port: 80 }])).map(({ addresses }) => addresses[0]), ["10.1.1.1", "10.0.0.1"]);
  });

  it("takes a tagged address with its own port, where it is told to and the instance has it", () => {
    const tagged = { wan: { Address: "203.0.113.1", Port: 8_443 }, lan_ipv6: { Address: "fd00::9" } };
    const shapes = [{ port: 80, address: "10.1.1.1", taggedAddresses: tagged }, { port: 80, address: "10.1.1.2" }];
    const read = (addressTag: string): unknown => instancesOf(build(shapes, { addressTag })).map(({ addresses, ports }) => [addresses[0], ports[""]]);
    assert.deepEqual(read(""), [["10.1.1.1", 80], ["10.1.1.2", 80]]);
    assert.deepEqual(read("wan"), [["203.0.113.1", 8_443], ["10.1.1.2", 80]]);
    assert.deepEqual(read("lan_ipv6"), [["fd00::9", 80], ["10.1.1.2", 80]]);
  });

  it("takes the node's tagged address where the service has none of its own, as Consul's own DNS does", () => {
    const nodeTaggedAddresses = { wan: "203.0.113.7", wan_ipv6: "" };
    const shapes = [{ port: 80, nodeTaggedAddresses }, { port: 80, address: "10.1.1.1", nodeTaggedAddresses }];
    const read = (addressTag: string): unknown => instancesOf(build(shapes, { addressTag })).map(({ addresses }) => addresses[0]);
    assert.deepEqual(read("wan"), ["203.0.113.7", "10.1.1.1"]);
    assert.deepEqual(read("wan_ipv6"), ["10.0.0.1", "10.1.1.1"]);
    assert.deepEqual(read(""), ["10.0.0.1", "10.1.1.1"]);
  });

  it("leaves out what listens on a unix socket, and notes what speaks Consul's own mutual TLS", () => {
    const service = build([{ socketPath: "/run/web.sock" }, { port: 80, isConnectNative: true }, { port: 80 }]);
    assert.equal(instancesOf(service).length, 2);
    assert.match(service?.notes.join("\n") ?? "", /web-0 listens on a unix socket/);
    assert.match(service?.notes.join("\n") ?? "", /1 of 3 instances speak Consul's own mutual TLS/);
  });

  it("names all parts of a service in a partition or namespace", () => {
    assert.deepEqual(build([{ port: 80 }], { consulNamespace: "Team" })?.aliases, ["web.service.team.ns.default.ap.dc1.dc.consul"]);
    assert.deepEqual(build([{ port: 80 }], { partition: "edge", datacenter: "dc2" })?.aliases, ["web.service.default.ns.edge.ap.dc2.dc.consul"]);
  });

  it("resolves instances with host names by DNS, but never mixes them with addresses", () => {
    assert.equal(build([{ port: 5_432, address: "DB.example.com." }])?.resolution, "dns");
    const mixed = build([{ port: 80, address: "db.example.com" }, { port: 80, address: "fd00::1" }]);
    assert.equal(mixed?.resolution, "static");
    assert.deepEqual(instancesOf(mixed).map(({ addresses }) => addresses[0]), ["fd00::1"]);
    assert.equal(mixed?.notes.length, 1);
  });

  it("judges health by the worst check, and warnings by their weight", () => {
    const weights = { Passing: 5, Warning: 2 };
    const service = build([
      { port: 80, weights },
      { port: 80, weights, checks: [check("warning")] },
      { port: 80, weights: { Passing: 5, Warning: 0 }, checks: [check("warning")] },
      { port: 80, weights, checks: [check("warning"), check("critical", "c2")] },
      { port: 80, weights, checks: [maintenance("_service_maintenance:web-4", "upgrade")] },
      { port: 80, weights, checks: [check("passing"), maintenance("_node_maintenance", "")] },
    ]);
    assert.deepEqual(instancesOf(service).map(({ health, weight, healthDetail }) => [health, weight, healthDetail]), [
      ["healthy", 5, undefined],
      ["healthy", 2, "probe warns: why"],
      ["unhealthy", 5, "probe warns: why"],
      ["unhealthy", 5, "probe: why"],
      ["draining", 5, "maintenance: upgrade"],
      ["draining", 5, "maintenance"],
    ]);
  });

  it("makes labels of tags and meta, and meta wins", () => {
    const [instance] = instancesOf(build([{ port: 80, tags: ["team=a", "tier|web", "v2", "blue"], meta: { team: "b" } }]));
    assert.deepEqual(instance?.labels, { "tag/blue": "true", "tag/v2": "true", team: "b", tier: "web", version: "v2" });
  });

  it("finds the protocol in meta, then in tags, and says when they disagree", () => {
    const protocol = (shape: Shape): string | undefined => build([{ port: 8_080, ...shape }])?.ports[0]?.protocol;
    assert.equal(protocol({}), "TCP");
    assert.equal(protocol({ tags: ["grpc"] }), "GRPC");
    assert.equal(protocol({ tags: ["protocol=http2"] }), "HTTP2");
    assert.equal(protocol({ tags: ["grpc"], meta: { protocol: "http" } }), "HTTP");
    const service = build([{ port: 80, tags: ["http"] }, { port: 80, tags: ["grpc"] }]);
    assert.equal(service?.ports[0]?.protocol, "GRPC");
    assert.match(service?.notes[0] ?? "", /different protocols \(grpc, http\): grpc holds/);
  });

  it("gives a service one port where its instances have many numbers", () => {
    assert.deepEqual(build([{ port: 80 }, { port: 80 }])?.ports, [{ name: "", number: 80, protocol: "TCP" }]);
    const scattered: Shape[] = [{ port: 20_001, tags: ["http"] }, { port: 20_002, tags: ["http"] }];
    const service = build(scattered);
    assert.deepEqual(service?.ports, [{ name: "", number: 80, protocol: "HTTP" }]);
    assert.deepEqual(instancesOf(service).map(({ ports }) => ports[""]), [20_001, 20_002]);
    assert.equal(service?.notes.length, 1);
    assert.equal(build(scattered.map((shape) => ({ ...shape, meta: { "service-port": "9000" } })))?.ports[0]?.number, 9_000);
  });

  it("gives it the port and the protocol of most of them, so that one odd instance moves nobody", () => {
    const usual: Shape[] = [{ port: 8_080, tags: ["http"] }, { port: 8_080, tags: ["http"] }];
    const odd: Shape = { port: 79, meta: { protocol: "grpc" } };
    for (const shapes of [[...usual, odd], [odd, ...usual]]) {
      const service = build(shapes);
      assert.deepEqual(service?.ports, [{ name: "", number: 8_080, protocol: "HTTP" }]);
      assert.equal(instancesOf(service).length, 3);
      assert.deepEqual(service?.notes, [
        "instances have different ports (79, 8080): the service's is 8080; the meta service-port can say another",
        "instances name different protocols (grpc, http): http holds",
      ]);
    }
    assert.equal(build([{ port: 9_000 }, { port: 9_000 }, { port: 1 }])?.ports[0]?.number, 9_000);
  });

  it("keeps them where one odd instance names its ports, until half of them do", () => {
    const usual: Shape[] = [{ port: 8_080, tags: ["http"] }, { port: 8_080, tags: ["http"] }];
    for (const [odd, others] of [
      [{ ports: [{ Name: "grpc", Port: 8_080 }] }, []],
      [{ ports: [{ Name: "admin", Port: 9_090 }] }, [9_090]],
      [{ ports: [{ Name: "main", Port: 8_080 }, { Name: "admin", Port: 9_090 }] }, [9_090]],
    ] as const) {
      for (const shapes of [[...usual, odd], [odd, ...usual]]) {
        const service = build(shapes);
        const [own, ...more] = (service?.ports ?? []).map(({ name, number, protocol }) => ({ name, number, protocol }));
        assert.deepEqual(own, { name: "", number: 8_080, protocol: "HTTP" });
        assert.deepEqual(more.map(({ number }) => number), others);
        assert.equal(instancesOf(service).filter(({ ports }) => ports[""] === 8_080).length, odd.ports[0].Port === 8_080 ? 3 : 2);
      }
    }
    const named: Shape[] = [0, 1].map(() => ({ ports: [{ Name: "http", Port: 8_080 }] }));
    for (const ports of [[{ Name: "zz", Port: 8_080 }], [{ Name: "zz", Port: 8_080 }, { Name: "http", Port: 9_090 }], [{ Name: "constructor", Port: 9_091 }]]) {
      const service = build([...named, ...named, { ports }]);
      assert.deepEqual(service?.ports[0] && { ...service.ports[0], targetPort: "http" }, { name: "http", number: 8_080, protocol: "HTTP", targetPort: "http" });
      assert.ok(instancesOf(service).filter((instance) => instance.ports["http"] === 8_080).length >= 4);
      assert.deepEqual(service?.ports.slice(1).map(({ number }) => number), ports[0]?.Name === "constructor" ? [9_091] : []);
    }
    const half = build([{ port: 8_080 }, { ports: [{ Name: "http", Port: 8_080 }] }]);
    assert.deepEqual([half?.ports, instancesOf(half).map(({ ports }) => ports)], [[{ name: "http", number: 8_080, protocol: "HTTP" }], [{ http: 8_080 }, { http: 8_080 }]]);
  });

  it("reads several ports of an instance", () => {
    const service = build([{ port: 8_080, ports: [{ Name: "http", Port: 8_080 }, { Name: "grpc", Port: 9_090 }] }]);
    assert.deepEqual(service?.ports, [
      { name: "http", number: 8_080, protocol: "HTTP", targetPort: "http" },
      { name: "grpc", number: 9_090, protocol: "GRPC", targetPort: "grpc" },
    ]);
  });

  it("calls no instance at a port that only others have, and keeps those from before ports had names", () => {
    const service = build([{ port: 8_080 }, { ports: [{ Name: "http", Port: 8_080 }, { Name: "admin", Port: 9_090 }] }, { port: 7_000 }]);
    assert.deepEqual(service?.ports.map(({ number, targetPort }) => [number, targetPort]), [[7_000, ""], [8_080, "http"], [9_090, "admin"]]);
    assert.deepEqual(instancesOf(service).map(({ ports }) => ports), [{ http: 8_080 }, { http: 8_080, admin: 9_090 }, { "": 7_000 }]);
  });

  it("leaves out instances without a port, and says so", () => {
    const service = build([{}, { port: 80 }]);
    assert.equal(instancesOf(service).length, 1);
    assert.deepEqual(service?.notes, ["dc1/n1/web-0 has no port"]);
    const none = Array.from({ length: 3_000 }, (): Shape => ({}));
    assert.deepEqual(build(none)?.notes, ["dc1/n1/web-0, dc1/n1/web-1, dc1/n1/web-10 and 2997 more: has no port"], "not one for each of thousands");
  });

  it("leaves out a port that is none, and nothing else of the answer", () => {
    const service = build([
      { port: 70_000 },
      { port: -3 },
      { port: 80, taggedAddresses: { wan: { Address: "203.0.113.1", Port: 99_999 } } },
      { ports: [{ Name: "http", Port: 8_080 }, { Name: "odd", Port: 70_000 }] },
    ]);
    assert.deepEqual(instancesOf(service).map(({ name, ports }) => [name, ports]), [["web-2", { "": 80 }], ["web-3", { http: 8_080 }]]);
    assert.deepEqual(service?.notes, ["0 has the port 70000", "1 has the port -3", "3 has the port 70000"].map((text) => `dc1/n1/web-${text}, which is none: it gets no traffic there`));
    assert.deepEqual(instancesOf(build([{ port: 80, taggedAddresses: { wan: { Address: "203.0.113.1", Port: 99_999 } } }], { addressTag: "wan" })), []);
  });

  it("leaves out addresses that are no place of a mesh, and says so", () => {
    const service = build([
      { port: 80 },
      { port: 80, address: "127.0.0.1" },
      { port: 80, address: "::ffff:127.0.0.1" },
      { port: 80, address: "fe80::1" },
      { port: 80, address: "169.254.169.254" },
      { port: 80, address: "localhost" },
      { port: 80, address: "not a host!" },
      { port: 80, address: "*.example.com" },
    ]);
    assert.equal(instancesOf(service).length, 1);
    const notes = service?.notes ?? [];
    assert.equal(notes.filter((note) => note.includes("another place on each host")).length, 5);
    assert.equal(notes.filter((note) => note.includes("neither an IP address nor a host name")).length, 2);
  });

  it("leaves out sidecars, gateways, and what another registry owns", () => {
    assert.equal(build([{ port: 21_000, kind: "connect-proxy" }]), undefined);
    assert.equal(build([{ port: 80, meta: { "external-source": "kubernetes" } }]), undefined);
    assert.equal(instancesOf(build([{ port: 80 }, { port: 81, kind: "connect-proxy" }])).length, 1);
  });

  it("keeps a service whose last instance is gone, without endpoints", () => {
    assert.deepEqual(instancesOf(build([])), []);
    assert.equal(build([])?.name, "web");
  });
});
