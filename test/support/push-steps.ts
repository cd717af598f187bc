import fc from "fast-check";
import type { AnyResource } from "../../api/resource.ts";
import { HOSTS, type ReportedChanges, type Step } from "./push-mesh.ts";
import { resource } from "./resource.ts";

const RULED_HOSTS = ["web", "db", "api.example.com", "*.mesh.internal"];

const DESTINATIONS = [{ host: "web" }, { host: "db" }, { host: "api.example.com", port: { number: 80 } }];

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
  fc.tuple(fc.constantFrom("STATIC" as const, "STATIC" as const, "DNS" as const), fc.constantFrom("192.0.2.1", "192.0.2.2")).map(([resolution, address]) =>
    resource("ServiceEntry", "api", {
      hosts: ["api.example.com"],
      location: "MESH_EXTERNAL",
      resolution,
      ports: [{ number: 80, name: "http", protocol: "HTTP" }],
      endpoints: [{ address: resolution === "DNS" ? "api.example.com" : address }],
    }),
  ),
  fc.constant(
    resource("ServiceEntry", "wild", {
      hosts: ["*.example.com"],
      location: "MESH_EXTERNAL",
      resolution: "NONE",
      ports: [{ number: 80, name: "http", protocol: "HTTP" }],
    }),
  ),
  fc.tuple(fc.constantFrom("a", "b"), fc.constantFrom(...RULED_HOSTS), fc.constantFrom(...DESTINATIONS), fc.constantFrom("1s", "2s"), fc.constantFrom("default", "mesh-system")).map(
    ([id, host, destination, timeout, namespace]) =>
      resource("VirtualService", id, { hosts: [host], http: [{ route: [{ destination }], timeout }], tcp: [{ route: [{ destination }] }] }, { namespace }),
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
const reportedChanges: fc.Arbitrary<ReportedChanges> = fc.record(
  { inboundPort: fc.constantFrom(15_006, 15_007), outboundOffset: fc.nat(1), httpPort: fc.constantFrom(8_080, 8_081, 5_432), placeOf: fc.constantFrom(...HOSTS) },
  { requiredKeys: [] },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(fc.constantFrom("write" as const, "write" as const, "delete" as const), written).map(([what, one]) => ({ do: what, resource: one })) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom(...HOSTS), fc.subarray(["default/web", "default/db"]), fc.boolean(), reportedChanges)
      .map(([host, groups, isHealthy, changes]) => ({ do: "report" as const, host, groups, isHealthy, changes })),
  },
  { weight: 1, arbitrary: fc.constantFrom(...HOSTS).map((host) => ({ do: "leave" as const, host })) },
  { weight: 1, arbitrary: fc.constantFrom("old root", "new root").map((root) => ({ do: "trust" as const, root })) },
);

/** Things that people and hosts do to a mesh; true where a batch of changes ends. */
export const meshSteps: fc.Arbitrary<[Step, boolean][]> = fc.array(fc.tuple(step, fc.boolean()), { maxLength: 25, size: "max" });
