import assert from "node:assert/strict";
import { importEntries } from "../../../../../support/consul-import.ts";

const HTTP = { Kind: "proxy-defaults", Name: "global", Config: { protocol: "http" } };

interface HttpRoute {
  readonly match?: readonly { readonly uri?: { readonly prefix?: string } }[];
  readonly route: readonly { readonly destination: { readonly host: string; readonly subset?: string }; readonly weight?: number; readonly headers?: unknown }[];
  readonly timeout: string;
  readonly retries: { readonly attempts: number };
}

function routesOf(service: string, entries: readonly unknown[], datacenter?: string): readonly HttpRoute[] {
  const { resources } = importEntries([HTTP, ...entries], { datacenter });
  const found = resources.find(({ resource: { kind, metadata } }) => kind === "VirtualService" && metadata.name === service);
  return (found?.resource.spec["http"] ?? []) as readonly HttpRoute[];
}

/** `web:v1=90`. */
function legsOf({ route }: HttpRoute): string[] {
  return route.map(({ destination: { host, subset }, weight }) => `${host.split(".")[0]}${subset === undefined ? "" : `:${subset}`}${weight === undefined ? "" : `=${weight}`}`);
}

function lost(entries: readonly unknown[], datacenter?: string): string[] {
  return importEntries([HTTP, ...entries], { datacenter }).findings.filter(({ effect }) => effect === "lost").map(({ entry, message }) => `${entry}: ${message}`);
}

const router = (Name: string, ...Destinations: object[]) => ({ Kind: "service-router", Name, Routes: Destinations.map((Destination, index) => ({ Match: { HTTP: { PathPrefix: `/${index}` } }, Destination })) });
const splitter = (Name: string, ...Splits: object[]) => ({ Kind: "service-splitter", Name, Splits });
const resolver = (Name: string, rest: object) => ({ Kind: "service-resolver", Name, ...rest });

describe("consul import: the discovery chain", () => {
  it("goes to the service itself where nobody says otherwise", () => {
    assert.deepEqual(routesOf("web", [resolver("web", { ConnectTimeout: "1s" }), { Kind: "service-defaults", Name: "web" }]), []);
  });

  it("uses the splitter of a route's service, but not its router, and not for a subset", () => {
    const entries = [
      router("web", { Service: "api" }, { Service: "api", ServiceSubset: "v1" }),
      router("api", { Service: "nobody" }),
      splitter("api", { Weight: 75, Service: "api" }, { Weight: 25, Service: "next" }),
      resolver("api", { Subsets: { v1: {} } }),
    ];
    assert.deepEqual(routesOf("web", entries).map(legsOf), [["api=75", "next=25"], ["api:v1"], ["web"]]);
    assert.deepEqual(routesOf("api", entries).map(legsOf), [["nobody"], ["api=75", "next=25"]]);
  });

  it("flattens splitters, multiplies their weights and merges their headers", () => {
    const entries = [
      splitter("web", { Weight: 33.33, Service: "api", RequestHeaders: { Set: { a: "outer", b: "outer" } }, ResponseHeaders: { Set: { a: "outer" } } }, { Weight: 66.67 }),
      splitter("api", { Weight: 10, RequestHeaders: { Set: { a: "inner" } }, ResponseHeaders: { Set: { a: "inner", c: "inner" } } }, { Weight: 90, Service: "next" }),
    ];
    const [route] = routesOf("web", entries);
    assert.ok(route);
    assert.deepEqual(legsOf(route), ["api=333", "next=3000", "web=6667"]);
    assert.deepEqual(route.route[0]?.headers, { request: { set: { a: "inner", b: "outer" } }, response: { set: { a: "outer", c: "inner" } } });
  });

  it("follows redirects and default subsets", () => {
    const entries = [
      resolver("old", { Redirect: { Service: "web" } }),
      resolver("web", { DefaultSubset: "v1", Subsets: { v1: {}, v2: {} } }),
      resolver("canary", { Redirect: { Service: "web", ServiceSubset: "v2" } }),
      resolver("near", { Redirect: { Service: "web", Datacenter: "dc1" } }),
      router("edge", { Service: "old" }, { Service: "old", ServiceSubset: "v2" }),
    ];
    for (const [service, leg] of [["old", "web:v1"], ["web", "web:v1"], ["canary", "web:v2"], ["near", "web:v1"]] as const) {
      assert.deepEqual(routesOf(service, entries, "dc1").map(legsOf), [[leg]], service);
    }
    assert.deepEqual(routesOf("edge", entries, "dc1").map(legsOf), [["web:v1"], ["web:v1"], ["edge"]], "a subset of the service that redirects is none of the other's");
  });

  it("has Envoy's timeout and no retries unless told, and a resolver's timeout only where it comes first", () => {
    const timeouts = (service: string, ...entries: unknown[]): string[] => routesOf(service, entries).map(({ timeout }) => timeout);
    assert.deepEqual(timeouts("web", resolver("web", { RequestTimeout: "3s" })), ["3s"]);
    assert.deepEqual(timeouts("web", resolver("web", { RequestTimeout: "-1ns" })), ["0s"]);
    assert.deepEqual(timeouts("old", resolver("old", { Redirect: { Service: "web" }, RequestTimeout: "1s" }), resolver("web", { RequestTimeout: "1.5s" })), ["1500ms"]);
    assert.deepEqual(timeouts("web", resolver("web", { RequestTimeout: "3s" }), router("web", { RequestTimeout: 2e9 }, { RequestTimeout: "1m0s" }, {})), ["2s", "60s", "15s", "15s"]);
    assert.deepEqual(timeouts("web", resolver("web", { RequestTimeout: "3s" }), splitter("web", { Weight: 100 })), ["15s"]);
    assert.deepEqual(routesOf("web", [router("web", { RetryOnConnectFailure: true }, { NumRetries: 4, RetryOn: ["5xx"], RetryOnStatusCodes: [429] }, {})]).map(({ retries }) => retries), [
      { attempts: 1, retryOn: "connect-failure" }, { attempts: 4, retryOn: "5xx,429" }, { attempts: 0 }, { attempts: 0 },
    ]);
  });

  it("leaves out what leads in a circle, and says so", () => {
    const entries = [splitter("a", { Weight: 100, Service: "b" }), splitter("b", { Weight: 100, Service: "a" }), resolver("c", { Redirect: { Service: "d" } }), resolver("d", { Redirect: { Service: "c" } }), router("e", { Service: "a" }, { Service: "c" }, { Service: "f" })];
    assert.deepEqual(["a", "b", "c", "d"].flatMap((service) => routesOf(service, entries)), []);
    assert.deepEqual(routesOf("e", entries).map(legsOf), [["f"], ["e"]]);
    const said = lost(entries).join("\n");
    for (const circle of ["a -> b -> a", "b -> a -> b", "c/ -> d/ -> c/", "service-router e Routes[0] is left out", "service-router e Routes[1] is left out"]) assert.ok(said.includes(circle), `${circle} is not in\n${said}`);
  });

  it("leaves out what leads where the mesh knows nothing", () => {
    for (const [Redirect, what] of [
      [{ Service: "x", Datacenter: "dc2" }, /the datacenter dc2/],
      [{ Service: "x", Peer: "other" }, /the peer other/],
      [{ SamenessGroup: "all" }, /the sameness group all/],
      [{ Service: "x", Namespace: "team" }, /namespace or partition team/],
      [{ Service: "x", ServiceSubset: "v9" }, /x has no subset v9/],
    ] as const) {
      const entries = [resolver("web", { Redirect })];
      assert.deepEqual(routesOf("web", entries, "dc1"), []);
      assert.match(lost(entries, "dc1").join("\n"), what);
    }
    assert.match(lost([splitter("web", { Weight: 50 }, { Weight: 50, Partition: "p" })]).join("\n"), /partition p.*calls of web go to web itself/);
  });

  it("ends where splitters multiply", () => {
    const entries = Array.from({ length: 30 }, (_, index) => splitter(`s${index}`, { Weight: 50, Service: `s${index + 1}` }, { Weight: 50, Service: `s${index + 1}` }));
    assert.deepEqual(routesOf("s0", entries), []);
    assert.match(lost(entries).join("\n"), /more than 500 ways/);
  });

  it("ignores routers and splitters of a service that is not HTTP, as Consul does, and routes its connections", () => {
    const entries = [{ Kind: "service-defaults", Name: "db", Protocol: "tcp" }, router("db", { Service: "x" }), splitter("db", { Weight: 100, Service: "x" }), resolver("db", { Redirect: { Service: "postgres" } })];
    const { resources, findings } = importEntries([HTTP, ...entries]);
    assert.deepEqual(resources.map(({ resource }) => resource.spec["tcp"]), [[{ route: [{ destination: { host: "postgres.consul.svc.mesh.internal" } }] }]]);
    assert.deepEqual(findings.filter(({ effect }) => effect === "lost").map(({ entry }) => entry), ["service-router db", "service-splitter db"]);
  });

  it("translates ten thousand services in a straight line", () => {
    const entries = Array.from({ length: 10_000 }, (_, index) => router(`s${index}`, { Service: `s${index + 1}` }));
    assert.equal(importEntries([HTTP, ...entries]).resources.length, 10_000);
  });
});
