import assert from "node:assert/strict";
import fc from "fast-check";
import { joinEndpoints } from "../../../../../discovery/catalog/join-endpoints.ts";
import { healthAnswerSchema } from "../../../../../discovery/registry/consul/entry.ts";
import { buildConsulService } from "../../../../../discovery/registry/consul/service.ts";
import type { RegistryService } from "../../../../../discovery/registry/registry.ts";
import { entryOf, type FakeInstance } from "../../../../fakes/consul-server.ts";

type Shape = Omit<FakeInstance, "id" | "service">;

/** Ports, protocol and what else an instance says of its service. */
const shape: fc.Arbitrary<Shape> = fc.record(
  {
    port: fc.constantFrom(80, 8_080, 6_379),
    ports: fc.uniqueArray(fc.record({ Name: fc.constantFrom("http", "grpc", "admin", "constructor"), Port: fc.constantFrom(80, 8_080, 6_379, 70_000) }), { minLength: 1, maxLength: 2, selector: ({ Name }) => Name }),
    tags: fc.subarray(["http", "grpc", "tcp"], { maxLength: 1 }),
    meta: fc.dictionary(fc.constantFrom("protocol", "service-port"), fc.constantFrom("http", "grpc", "81", "8080", "0")),
  },
  { requiredKeys: ["port"] },
);
/** Of two names for one port, neither of which goes before, one voice more may decide. */
const usualShape = shape.filter(({ ports = [] }) => new Set(ports.map(({ Port }) => Port)).size === ports.length);
const place = fc.constantFrom("10.0.0.1", "10.0.0.9", "10.0.0.9", "odd.example.com", "127.0.0.1", "no address");

function build(shapes: readonly Shape[]): RegistryService | undefined {
  const entries = healthAnswerSchema.parse(shapes.map((one, at) => entryOf({ id: `web-${at}`, service: "web", node: `n${at}`, ...one })));
  return buildConsulService("web", entries, { registry: "consul", namespace: "consul", meshDomain: "mesh.internal", addressTag: "", network: "", dnsDomain: "consul", ignoredSources: [] });
}

/** What callers have of a service: ports with protocols, and where they lead to. */
function shown(service: RegistryService | undefined): string[] {
  const { ports = [], backends, resolution = "static" } = service ?? {};
  const workloads = backends?.kind === "explicit" ? backends.workloads : [];
  const { endpoints } = joinEndpoints([{ way: resolution, ports: ports.map((port) => [port.number, port]), workloads, hasGroup: false, allowsPlaintext: true }], "mesh.internal");
  return [...ports.map(({ number, protocol }) => `${number} ${protocol}`), ...endpoints.map(({ servicePort, address, port, health }) => `${servicePort} ${address}:${port} ${health}`)];
}

describe("one odd instance of a Consul", () => {
  it("takes nothing from the others, whatever it says (property)", () => {
    const addresses = fc.constantFrom(["10.0.0.1", "10.0.0.2", "10.0.0.3"], ["a.example.com", "b.example.com", "c.example.com"]);
    fc.assert(
      fc.property(usualShape, addresses, shape, place, fc.nat(3), fc.boolean(), (usual, at, odd, where, index, isWell) => {
        const three = at.map((address): Shape => ({ ...usual, address }));
        const checks = isWell ? [] : [{ CheckID: "c", Name: "probe", Status: "critical", Output: "" }];
        const kept = shown(build(three.toSpliced(index, 0, { ...odd, address: where, checks })));
        assert.deepEqual(shown(build(three)).filter((one) => !kept.includes(one)), []);
      }),
      { numRuns: 3_000 },
    );
  });
});
