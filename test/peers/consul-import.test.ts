import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { parseDocuments } from "../../api/document.ts";
import { meshConfigSchema } from "../../api/mesh-config.ts";
import type { AnyResource } from "../../api/resource.ts";
import { CodedError } from "../../base/coded-error.ts";
import { translateOffline } from "../../cli/offline.ts";
import { ConsulAgent } from "../support/consul-agent.ts";
import { isAllowedByIstio, policiesOf } from "../support/consul-import.ts";
import { consulPath } from "../support/consul.ts";
import { runImport } from "../support/run-import.ts";

const MANAGEMENT_TOKEN = "11111111-2222-3333-4444-555555555555";
/** The least rights that show all; docs/migrate-from-consul.md names them. */
const RIGHTS = 'service_prefix "" { policy = "read" } mesh = "read" agent_prefix "" { policy = "read" }';
const path = consulPath();

const ENTRIES = [
  { Kind: "proxy-defaults", Name: "global", Config: { protocol: "http" } },
  { Kind: "service-defaults", Name: "web", Protocol: "http", UpstreamConfig: { Overrides: [{ Name: "api", Limits: { MaxConnections: 3 }, PassiveHealthCheck: { Interval: "22s", MaxFailures: 4, BaseEjectionTime: "60s" } }] } },
  { Kind: "service-defaults", Name: "db", Protocol: "tcp" },
  { Kind: "service-defaults", Name: "postgres", Protocol: "tcp" },
  { Kind: "service-resolver", Name: "web", DefaultSubset: "v1", ConnectTimeout: "1s", Subsets: { v1: { Filter: 'Service.Meta.version == "v1"' }, v2: { Filter: '"v2" in Service.Tags' } } },
  { Kind: "service-resolver", Name: "api", RequestTimeout: "7s", LoadBalancer: { Policy: "round_robin" } },
  { Kind: "service-resolver", Name: "old", Redirect: { Service: "web", ServiceSubset: "v2" } },
  { Kind: "service-resolver", Name: "db", Redirect: { Service: "postgres" } },
  { Kind: "service-splitter", Name: "web", Splits: [{ Weight: 90.5, ServiceSubset: "v1" }, { Weight: 9.5, ServiceSubset: "v2", RequestHeaders: { Set: { "x-canary": "1" } } }] },
  { Kind: "service-splitter", Name: "mixed", Splits: [{ Weight: 33.33, Service: "web" }, { Weight: 16.67, Service: "old" }, { Weight: 50 }] },
  {
    Kind: "service-router", Name: "web", Routes: [
      { Match: { HTTP: { PathPrefix: "/admin", Methods: ["GET", "PUT"], Header: [{ Name: "x-debug", Exact: "1", Invert: true }], QueryParam: [{ Name: "q", Present: true }] } }, Destination: { Service: "api", PrefixRewrite: "/v1", RequestTimeout: "10s", NumRetries: 3, RetryOnStatusCodes: [503] } },
      { Match: { HTTP: { PathExact: "/old" } }, Destination: { Service: "web", ServiceSubset: "v2" } },
      { Match: { HTTP: { PathRegex: "/mix/[0-9]+" } }, Destination: { Service: "mixed" } },
    ],
  },
  { Kind: "service-intentions", Name: "web", Sources: [{ Name: "shop", Action: "allow" }, { Name: "spam", Action: "deny" }] },
  { Kind: "service-intentions", Name: "api", Sources: [{ Name: "web", Action: "allow" }, { Name: "*", Action: "deny" }] },
  { Kind: "service-intentions", Name: "open", Sources: [{ Name: "spam", Action: "deny" }, { Name: "*", Action: "allow" }] },
  { Kind: "service-intentions", Name: "*", Sources: [{ Name: "monitor", Action: "allow" }, { Name: "spam", Action: "allow" }] },
  { Kind: "mesh", TransparentProxy: { MeshDestinationsOnly: true } },
  { Kind: "jwt-provider", Name: "okta", JSONWebKeySet: { Remote: { URI: "https://example.com/jwks" } } },
];

/** What the mesh has besides: services of the names, one host that runs web and one that calls it. */
const MESH = `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: consul}
spec: {metadata: {labels: {app: web}}, template: {serviceAccount: web, ports: {http: 8080}}}
${["web", "api", "mixed", "old"].map((name) => `---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: consul}
spec: {selector: {app: ${name}}, ports: [{name: http, port: 80, targetPort: 8080}]}`).join("\n")}
`;

(path === undefined ? describe.skip : describe)(path === undefined ? "import from consul (no consul binary and no Go to build one)" : "import from consul", () => {
  let consul: ConsulAgent;
  let folder: string;
  let printed: string;
  let resources: readonly AnyResource[];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-import-"));
    consul = await ConsulAgent.start({ path: path ?? "", managementToken: MANAGEMENT_TOKEN });
    for (const entry of ENTRIES) {
      const { status, body } = await consul.call("PUT", "/v1/config", entry);
      assert.equal(status, 200, `${entry.Kind}: ${JSON.stringify(body)}`);
    }
    printed = await runImport("--address", consul.address, "--token-file", await tokenFile(RIGHTS));
    const parsed = parseDocuments(printed, "imported.yaml", "files");
    assert.deepEqual(parsed.issues, []);
    resources = parsed.resources;
  });

  after(async () => {
    await consul.stop();
    await rm(folder, { recursive: true });
  });

  const tokenFile = (rules: string): Promise<string> => consul.tokenFile(folder, rules);

  it("goes where Consul's own discovery chain goes", async () => {
    for (const service of ["web", "api", "old", "mixed", "db"]) {
      const { body } = await consul.call("GET", `/v1/discovery-chain/${service}`);
      assert.deepEqual(legsOfResource(service, resources), legsOfChain((body as { Chain: CompiledChain }).Chain), service);
    }
  });

  it("lets in whom Consul says it lets in", async () => {
    const policies = policiesOf(resources);
    for (const destination of ["web", "api", "open", "elsewhere"]) {
      for (const source of ["shop", "web", "spam", "monitor", "stranger"]) {
        const { body } = await consul.call("GET", `/v1/connect/intentions/check?source=${source}&destination=${destination}`);
        assert.equal(isAllowedByIstio(policies, { source, destination, path: "/", method: "GET" }), (body as { Allowed: boolean }).Allowed, `${source} -> ${destination}`);
      }
    }
  });

  it("becomes the routes, clusters and policies of the mesh", async () => {
    const mesh = parseDocuments(MESH, "mesh.yaml", "files");
    assert.deepEqual(mesh.issues, []);
    const { ir } = (await translateOffline([...mesh.resources, ...resources], ["consul/web"], meshConfigSchema.parse({}))) as { ir: Ir };
    const web = ir.services.find(({ hostname }) => hostname === "web.consul.svc.mesh.internal");
    const routes = web?.virtualHosts[0]?.routes ?? [];
    const host = (name: string): string => `${name}.consul.svc.mesh.internal`;
    assert.deepEqual(routes.map(({ match, action: { clusters, timeoutMs, retry, rewrite } }) => [match.path.value, clusters.map(({ cluster, weight }) => `${cluster} ${weight}`), timeoutMs, retry?.attempts ?? 0, rewrite?.uri]), [
      ["/admin", [`outbound|80||${host("api")} 1`], 10_000, 3, "/v1"],
      ["/old", [`outbound|80|v2|${host("web")} 1`], 15_000, 0, undefined],
      ["/mix/[0-9]+", [`outbound|80|v1|${host("web")} 3016`, `outbound|80|v2|${host("web")} 317`, `outbound|80|v2|${host("web")} 1667`, `outbound|80||${host("mixed")} 5000`], 15_000, 0, undefined],
      ["/", [`outbound|80|v1|${host("web")} 9050`, `outbound|80|v2|${host("web")} 950`], 15_000, 0, undefined],
    ]);
    assert.deepEqual(routes[0]?.match.headers.map(({ name, match, inverted }) => [name, typeof match === "string" ? match : match.value, inverted]), [[":method", "GET|PUT", false], ["x-debug", "present", false], ["x-debug", "1", true]]);
    const api = ir.services.find(({ hostname }) => hostname === host("api"))?.clusters[0];
    assert.deepEqual([api?.loadBalancer.kind, api?.connectionPool["maxConnections"], api?.outlierDetection?.["intervalMs"]], ["round-robin", 3, 22_000]);
    const inbound = ir.proxy.workloads[0]?.inbound[0]?.authorization;
    assert.deepEqual(inbound?.allow.map(({ name }) => name), ["consul/consul-intentions", "consul/web"]);
    assert.deepEqual(inbound?.deny.map(({ name, rules }) => [name, rules[0]?.from[0]?.principals[0]?.value]), [["consul/web-deny", "mesh.internal/ns/consul/sa/spam"]]);
  });

  it("names what it does not translate, and only with the rights to see it", async () => {
    assert.match(printed, /NOT TRANSLATED mesh mesh:/);
    assert.match(printed, /NOT TRANSLATED jwt-provider okta:/);
    const less = await runImport("--address", consul.address, "--token-file", await tokenFile('service_prefix "" { policy = "read" }'));
    assert.match(less, /TO DO jwt-provider: the token may not read every entry/);
    assert.deepEqual(parseDocuments(less, "imported.yaml", "files").resources.length, resources.length);
  });

  it("refuses to import a part", async () => {
    for (const args of [[], ["--token-file", await tokenFile('service "web" { policy = "read" }')], ["--token-file", await tokenFile('service_prefix "" { policy = "read" intentions = "deny" }')]]) {
      await assert.rejects(runImport("--address", consul.address, ...args), (thrown) => thrown instanceof CodedError && thrown.code === "MESH_REGISTRY_DENIED", args.join(" "));
    }
  });

  it("takes what consul config read prints", async () => {
    const read = await Promise.all(
      ["service-router/web", "service-splitter/web", "service-resolver/web", "service-splitter/mixed", "service-resolver/old", "service-resolver/api", "proxy-defaults/global"].map(async (entry) => {
        const [kind = "", name = ""] = entry.split("/");
        const { stdout } = await promisify(execFile)(path ?? "", ["config", "read", "-http-addr", consul.address, "-token", MANAGEMENT_TOKEN, "-kind", kind, "-name", name]);
        return stdout;
      }),
    );
    const file = join(folder, "entries.json");
    await writeFile(file, read.join(""));
    const parsed = parseDocuments(await runImport("--from-file", file), "imported.yaml", "files");
    const routesOf = (all: readonly AnyResource[]): unknown => all.find(({ kind, metadata }) => kind === "VirtualService" && metadata.name === "web")?.spec;
    assert.notEqual(routesOf(parsed.resources), undefined);
    assert.deepEqual(routesOf(parsed.resources), routesOf(resources));
  });
});

interface Ir {
  readonly services: readonly {
    readonly hostname: string;
    readonly clusters: readonly { readonly loadBalancer: { readonly kind: string }; readonly connectionPool: Readonly<Record<string, number>>; readonly outlierDetection?: Readonly<Record<string, number>> }[];
    readonly virtualHosts: readonly {
      readonly routes: readonly {
        readonly match: { readonly path: { readonly value: string }; readonly headers: readonly { readonly name: string; readonly match: "present" | { readonly value: string }; readonly inverted: boolean }[] };
        readonly action: { readonly clusters: readonly { readonly cluster: string; readonly weight: number }[]; readonly timeoutMs: number; readonly retry?: { readonly attempts: number }; readonly rewrite?: { readonly uri: string } };
      }[];
    }[];
  }[];
  readonly proxy: { readonly workloads: readonly { readonly inbound: readonly { readonly authorization: Readonly<Record<"allow" | "deny", readonly { readonly name: string; readonly rules: readonly { readonly from: readonly { readonly principals: readonly { readonly value: string }[] }[] }[] }[]>> }[] }[] };
}

/** Consul's answer about a discovery chain, as far as it is compared. */
interface CompiledChain {
  readonly StartNode: string;
  readonly Nodes: Readonly<Record<string, {
    readonly Type: "router" | "splitter" | "resolver";
    readonly Routes?: readonly { readonly NextNode: string }[];
    readonly Splits?: readonly { readonly Weight: number; readonly NextNode: string }[];
    readonly Resolver?: { readonly Target: string };
  }>>;
  readonly Targets: Readonly<Record<string, { readonly Service: string; readonly ServiceSubset?: string }>>;
}

/** `web:v1 90.5` for each leg of each route. */
function legsOfChain({ StartNode, Nodes, Targets }: CompiledChain): string[][] {
  const legs = (node: string, weight: number): string[] => {
    const { Routes, Splits, Resolver } = Nodes[node] ?? {};
    if (Routes !== undefined) return assert.fail("a router below another node");
    if (Splits !== undefined) return Splits.flatMap(({ Weight, NextNode }) => legs(NextNode, Weight));
    const target = Targets[Resolver?.Target ?? ""];
    return [`${target?.Service}${target?.ServiceSubset ? `:${target.ServiceSubset}` : ""} ${Number(weight.toFixed(2))}`];
  };
  const routes = Nodes[StartNode]?.Routes;
  return routes === undefined ? [legs(StartNode, 100)] : routes.map(({ NextNode }) => legs(NextNode, 100));
}

function legsOfResource(service: string, resources: readonly AnyResource[]): string[][] {
  const found = resources.find(({ kind, metadata }) => kind === "VirtualService" && metadata.name === service);
  if (found?.kind !== "VirtualService") return [[`${service} 100`]];
  return (found.spec.http ?? found.spec.tcp ?? []).map(({ route = [] }) => {
    const total = route.reduce((sum, { weight = 0 }) => sum + weight, 0);
    return route.map(({ destination, weight = 1 }) => `${destination?.host.split(".")[0]}${destination?.subset === undefined ? "" : `:${destination.subset}`} ${Number(((100 * weight) / (total || 1)).toFixed(2))}`);
  });
}
