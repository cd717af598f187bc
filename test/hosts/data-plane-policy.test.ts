import assert from "node:assert/strict";
import type { AuthorizationIr, PolicyOperationIr, PolicyRuleIr, PolicySourceIr } from "../../discovery/ir/authorization.ts";
import type { ProxyIr } from "../../discovery/ir/proxy.ts";
import { TYPE_URLS } from "../../xds/type-urls.ts";
import type { MeshState } from "../support/mesh-proxy.ts";
import { type HttpAnswer, type MeshScenario, startMeshScenario, UID, VIP } from "../support/mesh-scenario.ts";
import { waitUntil } from "../support/wait-until.ts";

const ANY_SOURCE: PolicySourceIr = { principals: [], notPrincipals: [], namespaces: [], notNamespaces: [], ipBlocks: [], notIpBlocks: [] };
const ANY_OPERATION: PolicyOperationIr = { methods: [], notMethods: [], paths: [], notPaths: [], hosts: [], notHosts: [], ports: [], notPorts: [] };
const FROM_WEB: PolicySourceIr = { ...ANY_SOURCE, principals: [{ kind: "exact", value: "mesh.internal/ns/default/sa/web" }] };

function policy(...rules: Partial<PolicyRuleIr>[]): AuthorizationIr["allow"] {
  return [{ name: "default/test", rules: rules.map((rule) => ({ from: [], to: [], ...rule })) }];
}

/** The state with these policies on one port of host b. */
function withPolicy({ proxy, ...rest }: MeshState, port: number, authorization: AuthorizationIr): MeshState {
  const changed: ProxyIr = {
    ...proxy,
    workloads: proxy.workloads.map((workload) => ({
      ...workload,
      inbound: workload.inbound.map((inbound) => (inbound.port === port ? { ...inbound, authorization } : inbound)),
    })),
  };
  return { ...rest, proxy: changed };
}

describe("policies on real hosts", function () {
  this.timeout(180_000);
  let mesh: MeshScenario;

  before(async () => {
    mesh = await startMeshScenario({ concurrency: 1 });
  });
  after(() => mesh.close());
  afterEach(async () => {
    assert.deepEqual([mesh.proxies.a.nacks, mesh.proxies.b.nacks], [[], []]);
    await mesh.proxies.b.apply(mesh.initial.b);
  });

  const enforce = (port: number, authorization: Partial<AuthorizationIr>): Promise<void> =>
    mesh.proxies.b.apply(withPolicy(mesh.initial.b, port, { deny: [], allow: [], ...authorization }));
  const reviews = (uid: number, changes: { path?: string; method?: string } = {}): Promise<HttpAnswer[]> =>
    mesh.http(mesh.hosts.a, { uid, mode: "http1", host: VIP.reviews[0], port: 8080, authority: "reviews", ...changes });
  const database = (uid: number): ReturnType<MeshScenario["tcp"]> => mesh.tcp(mesh.hosts.a, { uid, mode: "tcp", host: VIP.db[0], port: 5432 });

  it("allows whom an ALLOW policy names and nobody else", async () => {
    await enforce(8080, { allow: policy({ from: [FROM_WEB] }) });
    assert.equal(await statusOf(reviews(UID.web)), 200);
    assert.equal(await statusOf(reviews(UID.api)), 403);
  });

  it("denies before it allows, by path and method", async () => {
    await enforce(8080, {
      allow: policy({}),
      deny: policy({ to: [{ ...ANY_OPERATION, paths: [{ kind: "prefix", value: "/admin" }], notMethods: [{ kind: "exact", value: "HEAD" }] }] }),
    });
    assert.equal(await statusOf(reviews(UID.web, { path: "/" })), 200);
    assert.equal(await statusOf(reviews(UID.web, { path: "/admin?x=1" })), 403);
    assert.equal(await statusOf(reviews(UID.web, { path: "/admin", method: "HEAD" })), 200);
  });

  it("is not misled by other ways to write a path", async () => {
    await enforce(8080, { deny: policy({ to: [{ ...ANY_OPERATION, paths: [{ kind: "prefix", value: "/admin" }] }] }) });
    for (const path of ["//admin", "/x/../admin", "/%61dmin", "/x/%2e%2e/admin", "/./admin"]) {
      assert.equal(await statusOf(reviews(UID.web, { path })), 403, path);
    }
    // The connections of before the policy and those of after it say it in their own ways.
    assert.match(String(await statusOf(reviews(UID.web, { path: "/x%2f..%2fadmin" }))), /^40[03]$/);
  });

  it("is not misled on a connection that was open before the policy either", async () => {
    const call = { uid: UID.web, mode: "http1", host: VIP.reviews[0], port: 8080, authority: "reviews" } as const;
    assert.equal((await mesh.http(mesh.hosts.a, { ...call, path: "//admin" }))[0]?.status, 200);
    const connections = connectionsOf(8080);
    const deny = policy({ to: [{ ...ANY_OPERATION, paths: [{ kind: "prefix" as const, value: "/admin" }] }] });
    await mesh.proxies.b.applyType(TYPE_URLS.routeConfiguration, withPolicy(mesh.initial.b, 8080, { allow: [], deny }));
    for (const path of ["//admin", "/x%2fadmin", "/x/../admin"]) {
      assert.deepEqual((await mesh.http(mesh.hosts.a, { ...call, path, requests: 2 })).map(({ status }) => status), [403, 403], path);
    }
    assert.equal(await statusOf(reviews(UID.web, { path: "/elsewhere" })), 200);
    assert.equal(connectionsOf(8080), connections);
  });

  it("allows nobody under a policy without rules", async () => {
    await enforce(8080, { allow: policy() });
    assert.equal(await statusOf(reviews(UID.web)), 403);
  });

  it("takes a plaintext peer for nobody", async () => {
    const anyPrincipal = { ...ANY_SOURCE, principals: [{ kind: "present" as const }] };
    const { b, c } = mesh.hosts;
    const plain = (): Promise<HttpAnswer[]> => mesh.http(c, { uid: UID.stranger, mode: "http1", host: b.addresses.v4, port: 8082 });
    assert.equal(await statusOf(plain()), 200);
    await enforce(8082, { allow: policy({ from: [anyPrincipal] }) });
    assert.equal(await statusOf(plain()), 403);
    const meshed = mesh.http(mesh.hosts.a, { uid: UID.web, mode: "http1", host: VIP.legacy[0], port: 8082, authority: "legacy" });
    assert.equal(await statusOf(meshed), 200);
  });

  it("holds for the next request of a connection that is open already", async () => {
    const call = { uid: UID.web, mode: "http1", host: VIP.reviews[0], port: 8080, authority: "reviews" } as const;
    assert.equal((await mesh.http(mesh.hosts.a, { ...call, requests: 4 })).every(({ status }) => status === 200), true);
    const connections = connectionsOf(8080);
    await enforce(8080, { deny: policy({ from: [FROM_WEB] }) });
    assert.deepEqual((await mesh.http(mesh.hosts.a, { ...call, requests: 4 })).map(({ status }) => status), [403, 403, 403, 403]);
    assert.equal(connectionsOf(8080), connections);
  });

  it("allows and denies TCP by principal, and a denied peer learns nothing of a server that speaks first", async () => {
    await enforce(5432, { allow: policy({ from: [FROM_WEB] }) });
    assert.equal((await database(UID.web)).received, "db says hello\nping\n");
    const connections = connectionsOf(5432);
    const denied = await database(UID.api);
    assert.equal(denied.error, "ECLOSED");
    assert.equal(denied.received, "");
    assert.equal(connectionsOf(5432), connections, "the application saw the connection of a denied peer");
  });

  it("on TCP, never matches an ALLOW rule about HTTP, and takes a DENY rule for all of the port", async () => {
    const get = { to: [{ ...ANY_OPERATION, methods: [{ kind: "exact" as const, value: "GET" }] }] };
    await enforce(5432, { allow: policy(get) });
    assert.equal((await database(UID.web)).received, "");
    await enforce(5432, { deny: policy(get) });
    assert.equal((await database(UID.web)).received, "");
  });

  it("strips the headers that command the server's proxy", async () => {
    const headers = { "x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-retry-on": "5xx", "x-forwarded-client-cert": "URI=spiffe://mesh.internal/ns/default/sa/root" };
    const { b, c } = mesh.hosts;
    const [answer] = await mesh.http(c, { uid: UID.stranger, mode: "http1", host: b.addresses.v4, port: 8082, headers });
    const seen = Object.keys(answer?.body?.headers ?? {});
    assert.equal(answer?.status, 200);
    assert.deepEqual(seen.filter((name) => name.startsWith("x-envoy-retry") || name.startsWith("x-envoy-upstream") || name === "x-forwarded-client-cert"), []);
  });

  it("keeps the connections of a port when another one goes", async () => {
    const held = mesh.hold(mesh.hosts.a, { uid: UID.web, mode: "hold", host: VIP.db[0], port: 5432 });
    await waitUntil(() => held.output().includes("hello"), { what: "the greeting" });
    await mesh.proxies.b.apply(without(mesh.initial.b, 5433));
    const { proxy } = mesh.initial.a;
    await mesh.proxies.a.apply({
      ...mesh.initial.a,
      proxy: {
        ...proxy,
        workloads: proxy.workloads.map((workload) => ({
          ...workload,
          outbound: { ...workload.outbound, tcpRoutes: workload.outbound.tcpRoutes.filter(({ port }) => port !== 5433) },
        })),
      },
    });
    // Longer than the drain time of the proxies.
    await new Promise((resolve) => setTimeout(resolve, 8_000));
    held.child.stdin?.write("still here\n");
    await waitUntil(() => held.output().includes("still here"), { what: "the echo", timeoutMs: 10_000 });
    assert.equal((await mesh.tcp(mesh.hosts.a, { uid: UID.web, mode: "tcp", host: VIP.legacy[0], port: 5433 })).received, "");
    await held.close();
    await mesh.proxies.a.apply(mesh.initial.a);
  });

  /** How many connections the applications of b have seen on a port. */
  function connectionsOf(port: number): number {
    const output = Object.values(mesh.applications).map((application) => application.output()).join("");
    return output.split("\n").filter((line) => line.startsWith(`connection ${port} `)).length;
  }
});

async function statusOf(answers: Promise<HttpAnswer[]>): Promise<number | undefined> {
  return (await answers)[0]?.status;
}

/** The state without an inbound port. */
function without({ proxy, ...rest }: MeshState, port: number): MeshState {
  const workloads = proxy.workloads.map((workload) => ({ ...workload, inbound: workload.inbound.filter((inbound) => inbound.port !== port) }));
  return { ...rest, proxy: { ...proxy, workloads } };
}
