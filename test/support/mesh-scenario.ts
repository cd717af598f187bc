import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { applyCapture, revertCapture, type CaptureTarget } from "../../agent/interception/apply.ts";
import { createCommandRunner } from "../../agent/interception/command-runner.ts";
import { planCapture } from "../../agent/interception/plan.ts";
import { TaskGroup } from "../../base/task-group.ts";
import type { AuthorizationIr } from "../../discovery/ir/authorization.ts";
import type { ClusterEndpointsIr, ClusterIr, EndpointIr } from "../../discovery/ir/cluster.ts";
import { CLIENT_VALIDATION_SECRET, outboundClusterName, outboundSni, validationSecretName, virtualHostName } from "../../discovery/ir/names.ts";
import type { OutboundServiceIr, OutboundShapeIr } from "../../discovery/ir/outbound.ts";
import type { InboundPortIr, ProxyIr, ProxyWorkloadIr } from "../../discovery/ir/proxy.ts";
import { NO_HEADER_OPERATIONS, type RouteIr } from "../../discovery/ir/route.ts";
import type { TranslatedResource } from "../../discovery/translate/resource.ts";
import { type MeshProxy, type MeshState, startMeshProxy } from "./mesh-proxy.ts";
import { createLab, type LabHost, type LabProcess } from "./network-lab.ts";
import { createTestAuthority, type TestIdentity } from "./test-authority.ts";

/** The users of the scenario: `web` and `api` live on host a, `reviews` and `db` on host b. */
export const UID = { proxy: 900, web: 1001, api: 1002, reviews: 1003, db: 1004, stranger: 1005 } as const;

export const VIP = {
  reviews: ["240.240.0.1", "2001:2::1"],
  db: ["240.240.0.2", "2001:2::2"],
  api: ["240.240.0.3", "2001:2::3"],
  legacy: ["240.240.0.4", "2001:2::4"],
  impostor: ["240.240.0.5", "2001:2::5"],
  unowned: ["240.240.0.9", "2001:2::9"],
} as const;

/** An address of the lab's network that no host has. */
export const NOWHERE = "10.77.0.250";

export const FAMILIES = ["v4", "v6"] as const;
export type Family = (typeof FAMILIES)[number];

const TRUST_DOMAIN = "mesh.internal";
const VIP_RANGES = ["240.240.0.0/16", "2001:2::/48"];
const NO_POLICY: AuthorizationIr = { deny: [], allow: [] };
const CLIENT = fileURLToPath(new URL("mesh-client.mjs", import.meta.url));
const APPLICATION = fileURLToPath(new URL("mesh-application.mjs", import.meta.url));

export function identityOf(account: string): string {
  return `spiffe://${TRUST_DOMAIN}/ns/default/sa/${account}`;
}

/** Which address of a pair of both families. */
export function ofFamily(addresses: readonly [string, string], family: Family): string {
  return family === "v4" ? addresses[0] : addresses[1];
}

export interface ServiceOptions {
  readonly name: string;
  readonly port: number;
  readonly protocol: "http1" | "http2" | "tcp";
  readonly vips: readonly string[];
  /** Service accounts that may answer. */
  readonly accounts: readonly string[];
  readonly endpoints: readonly { readonly address: string; readonly additionalAddresses?: readonly string[]; readonly port: number; readonly meshed?: boolean }[];
  readonly routes?: readonly RouteIr[];
  /** Declared for what goes to its port at no virtual address. */
  readonly isOutside?: boolean;
}

export interface MeshService {
  readonly outbound: OutboundServiceIr;
  readonly endpoints: ClusterEndpointsIr;
}

export function hostnameOf(name: string): string {
  return `${name}.default.svc.${TRUST_DOMAIN}`;
}

/** Builds services of one port as the catalog would. */
export function meshService(options: ServiceOptions, trustBundles: Readonly<Record<string, string>>): MeshService {
  const { name, port, protocol, vips, accounts } = options;
  const hostname = hostnameOf(name);
  const cluster = outboundClusterName(port, "", hostname);
  return {
    outbound: {
      hostname,
      clusters: [clusterOf(options, hostname, cluster)],
      virtualHosts:
        protocol === "tcp"
          ? []
          : [
              {
                port,
                reach: options.isOutside === true ? "outside" : "mesh",
                name: virtualHostName(hostname, port),
                domains: [hostname, name],
                routes: options.routes ?? [forwardTo(cluster)],
              },
            ],
      tcpRoutes:
        protocol === "tcp"
          ? [{ name: `tcp|${port}|${hostname}`, addresses: vips, port, serverNames: [], clusters: [{ cluster, weight: 1 }] }]
          : [],
      validation: { name: validationSecretName(hostname), identities: accounts.map(identityOf), trustBundles },
    },
    endpoints: { cluster, endpoints: options.endpoints.map(({ address, additionalAddresses = [], port, meshed = true }) => ({ ...endpointOf(name, address, port, meshed), additionalAddresses })) },
  };
}

function clusterOf({ name, port, protocol }: ServiceOptions, hostname: string, cluster: string): ClusterIr {
  return {
    name: cluster,
    discovery: "eds",
    dnsEndpoints: [],
    protocol,
    tls: { mode: "mesh", validationSecret: validationSecretName(hostname), sni: outboundSni(port, "", hostname) },
    connectTimeoutMs: 5_000,
    loadBalancer: { kind: "round-robin" },
    connectionPool: {},
    service: { hostname, namespace: "default", name },
  };
}

export function forwardTo(cluster: string): RouteIr {
  return {
    name: "",
    match: { path: { kind: "prefix", value: "/" }, ignorePathCase: false, headers: [], queryParams: [] },
    action: { kind: "forward", clusters: [{ cluster, weight: 1, headers: NO_HEADER_OPERATIONS }], timeoutMs: 0, mirrors: [] },
    headers: NO_HEADER_OPERATIONS,
  };
}

function endpointOf(workload: string, address: string, port: number, meshed: boolean): EndpointIr {
  const locality = { region: "", zone: "", subZone: "" };
  return { address, port, weight: 1, health: "healthy", locality, meshed, workload: { name: workload, namespace: "default", version: "v1" } };
}

/** An inbound port of a workload; STRICT and open to every workload unless told. */
export function inboundPort(port: number, protocol: InboundPortIr["protocol"], changes: Partial<InboundPortIr> = {}): InboundPortIr {
  return { port, addresses: [], protocol, mtls: "STRICT", authorization: NO_POLICY, ...changes };
}

/** A request or connection as `mesh-client.mjs` makes it. */
export interface MeshCall {
  readonly uid: number;
  readonly mode: "http1" | "http2" | "tcp" | "tcp-many" | "names" | "hold" | "silent";
  readonly host: string;
  readonly port: number;
  readonly authority?: string;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly requests?: number;
  readonly parallel?: number;
  /** What a TCP connection sends, without the end of the line. */
  readonly says?: string;
  readonly tls?: { readonly cert?: string; readonly key?: string; readonly servername?: string };
}

export interface HttpAnswer {
  readonly status?: number;
  readonly error?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: { readonly name?: string; readonly peer?: string; readonly version?: string; readonly headers?: Readonly<Record<string, string>> };
}

export interface TcpAnswer {
  readonly received?: string;
  readonly error?: string;
}

/**
 * Hosts a and b of a mesh, each with one Envoy for two workloads, and host c,
 * which is in no mesh. Reviews, db and legacy are on b; web and api on a.
 */
export interface MeshScenario {
  readonly hosts: Readonly<Record<"a" | "b" | "c", LabHost>>;
  readonly proxies: Readonly<Record<"a" | "b", MeshProxy>>;
  /** What b's applications print. */
  readonly applications: Readonly<Record<"api" | "reviews" | "db", LabProcess>>;
  readonly trustBundles: Readonly<Record<string, string>>;
  readonly initial: Readonly<Record<"a" | "b", MeshState>>;
  mint(spiffeId: string): TestIdentity;
  http(from: LabHost, call: MeshCall): Promise<HttpAnswer[]>;
  tcp(from: LabHost, call: MeshCall): Promise<TcpAnswer>;
  /** Connections of mode `tcp-many`. */
  tcpMany(from: LabHost, call: Omit<MeshCall, "mode">): Promise<TcpAnswer[]>;
  /** What the server's certificate says, for each connection of mode `names`. */
  serverNames(from: LabHost, call: Omit<MeshCall, "mode">): Promise<string[]>;
  hold(from: LabHost, call: MeshCall): LabProcess;
  close(): Promise<void>;
}

export interface MeshScenarioOptions {
  /** Workers of each Envoy. With one, the connection that is open is the one that is used. */
  readonly concurrency?: number;
  readonly alter?: (resource: TranslatedResource) => TranslatedResource;
  /** Services beside the usual ones. */
  readonly services?: readonly ServiceOptions[];
}

export async function startMeshScenario(options: MeshScenarioOptions = {}): Promise<MeshScenario> {
  const tasks = new TaskGroup();
  try {
    return await start(tasks, options);
  } catch (failure) {
    await tasks.close();
    throw failure;
  }
}

async function start(tasks: TaskGroup, options: MeshScenarioOptions): Promise<MeshScenario> {
  const folder = await mkdtemp(join(tmpdir(), "ironmesh-mesh-"));
  tasks.defer(() => rm(folder, { recursive: true, force: true }));
  await chmod(folder, 0o755);
  const lab = tasks.own(await createLab({ hosts: ["a", "b", "c"] }));
  const { a, b, c } = lab.hosts as Record<"a" | "b" | "c", LabHost>;
  const authority = createTestAuthority();
  const trustBundles = { [TRUST_DOMAIN]: authority.root };

  const services = [
    { name: "reviews", port: 8080, protocol: "http1", vips: VIP.reviews, accounts: ["reviews"], endpoints: at(b, 8080) },
    { name: "reviews-six", port: 8080, protocol: "http1", vips: VIP.reviews, accounts: ["reviews"], endpoints: [{ address: b.addresses.v6, port: 8080 }] },
    { name: "reviews-two", port: 8080, protocol: "http1", vips: VIP.reviews, accounts: ["reviews"], endpoints: [{ address: NOWHERE, additionalAddresses: [b.addresses.v6], port: 8080 }] },
    { name: "grpc", port: 8081, protocol: "http2", vips: VIP.reviews, accounts: ["reviews"], endpoints: at(b, 8081) },
    { name: "legacy", port: 8082, protocol: "http1", vips: VIP.legacy, accounts: ["reviews"], endpoints: at(b, 8082) },
    { name: "impostor", port: 8080, protocol: "http1", vips: VIP.impostor, accounts: ["somebody-else"], endpoints: at(b, 8080) },
    { name: "nobody", port: 8080, protocol: "http1", vips: VIP.impostor, accounts: [], endpoints: at(b, 8080) },
    { name: "api", port: 8090, protocol: "http1", vips: VIP.api, accounts: ["api"], endpoints: at(a, 8090) },
    { name: "db", port: 5432, protocol: "tcp", vips: VIP.db, accounts: ["db"], endpoints: at(b, 5432) },
    { name: "old-db", port: 5433, protocol: "tcp", vips: VIP.legacy, accounts: ["db"], endpoints: at(b, 5433) },
    ...(options.services ?? []),
  ] as readonly ServiceOptions[];
  const built = services.map((service) => meshService(service, trustBundles));
  const outbound: OutboundShapeIr = {
    httpPorts: httpPorts(services.filter(({ isOutside }) => isOutside !== true)),
    outsideHttpPorts: httpPorts(services.filter(({ isOutside }) => isOutside === true)),
    tcpRoutes: built.flatMap((service) => service.outbound.tcpRoutes),
    vipRanges: VIP_RANGES,
    unknownDestinations: "allow",
  };
  const workload = (name: string, outboundPort: number, inbound: readonly InboundPortIr[]): ProxyWorkloadIr => ({
    name,
    namespace: "default",
    identity: identityOf(name),
    outboundPort,
    outbound,
    inbound,
  });
  const state = (hostId: string, workloads: readonly ProxyWorkloadIr[]): MeshState => {
    const proxy: ProxyIr = {
      hostId,
      inboundPort: 15_006,
      workloads,
      clientValidation: { name: CLIENT_VALIDATION_SECRET, trustBundles },
      accessLog: "json",
    };
    return {
      proxy,
      services: built.map((service) => service.outbound),
      endpoints: built.map((service) => service.endpoints),
      identities: Object.fromEntries(workloads.map(({ identity }) => [identity, authority.mint(identity)])),
    };
  };
  const initial = {
    a: state("a", [workload("api", 15_102, [inboundPort(8090, "http1")]), workload("web", 15_101, [])]),
    b: state("b", [
      workload("db", 15_102, [inboundPort(5432, "tcp"), inboundPort(5433, "tcp", { mtls: "PERMISSIVE" })]),
      workload("reviews", 15_101, [
        inboundPort(8080, "http1"),
        inboundPort(8081, "http2"),
        inboundPort(8082, "http1", { mtls: "PERMISSIVE" }),
      ]),
    ]),
  };

  const [api, reviews, db] = await Promise.all([
    startApplication(a, { name: "api", uid: UID.api, http: [8090] }),
    startApplication(b, { name: "reviews", uid: UID.reviews, http: [8080, 8082], http2: [8081] }),
    startApplication(b, { name: "db", uid: UID.db, tcp: [5432, 5433] }),
    startApplication(c, { name: "outside", uid: UID.stranger, http: [8080], tcp: [7000] }),
  ]);
  const begin = async (host: LabHost, first: MeshState, uids: Readonly<Record<string, number>>): Promise<MeshProxy> => {
    const proxy = tasks.own(await startMeshProxy({ host, folder: join(folder, host.name), uid: UID.proxy, state: first, ...options }));
    await capture(host, first.proxy, uids, join(folder, `${host.name}-capture.json`), tasks);
    return proxy;
  };
  const proxies = {
    a: await begin(a, initial.a, { web: UID.web, api: UID.api }),
    b: await begin(b, initial.b, { reviews: UID.reviews, db: UID.db }),
  };
  return {
    hosts: { a, b, c },
    proxies,
    applications: { api, reviews, db },
    trustBundles,
    initial,
    mint: (spiffeId) => authority.mint(spiffeId),
    http: (from, call) => callFrom<HttpAnswer[]>(from, call),
    tcp: (from, call) => callFrom<TcpAnswer>(from, call),
    tcpMany: (from, call) => callFrom<TcpAnswer[]>(from, { ...call, mode: "tcp-many" }),
    serverNames: (from, call) => callFrom<string[]>(from, { ...call, mode: "names" }),
    hold: (from, call) => from.spawn(process.execPath, [CLIENT, JSON.stringify({ ...call, mode: "hold" })]),
    close: () => tasks.close(),
  };
}

function httpPorts(services: readonly ServiceOptions[]): number[] {
  const ports = services.filter(({ protocol }) => protocol !== "tcp").map(({ port }) => port);
  return [...new Set(ports)].sort((left, right) => left - right);
}

/** One endpoint at the host's IPv4 address. */
function at({ addresses }: LabHost, port: number): { address: string; port: number }[] {
  return [{ address: addresses.v4, port }];
}

async function capture(host: LabHost, proxy: ProxyIr, uids: Readonly<Record<string, number>>, recordPath: string, tasks: TaskGroup): Promise<void> {
  const target: CaptureTarget = { runner: createCommandRunner(host.commandPrefix), backend: "nft", reverter: "process", recordPath };
  const plan = planCapture({
    proxyUid: UID.proxy,
    inboundListenerPort: proxy.inboundPort,
    outbound: proxy.workloads.map(({ name, outboundPort }) => ({ workload: name, match: { uids: [uids[name] ?? 0] }, outboundPort })),
    inbound: proxy.workloads.flatMap(({ name, inbound }) => inbound.map(({ port, mtls }) => ({ workload: name, port, failClosed: mtls === "STRICT" }))),
    outboundScope: "all",
    exclusions: { ports: [], cidrs: [] },
    vips: { v4: ["240.240.0.0/16"], v6: ["2001:2::/48"] },
    managementPorts: [],
  });
  if (!plan.ok) throw new Error(JSON.stringify(plan.error));
  await applyCapture(target, plan.value);
  tasks.defer(() => revertCapture(target, { guard: "remove", drainTimeoutMs: 0 }));
}

interface ApplicationOptions {
  readonly name: string;
  readonly uid: number;
  readonly http?: readonly number[];
  readonly http2?: readonly number[];
  readonly tcp?: readonly number[];
}

async function startApplication(host: LabHost, options: ApplicationOptions): Promise<LabProcess> {
  const application = host.spawn(process.execPath, [APPLICATION, JSON.stringify(options)]);
  const { stdout } = application.child;
  if (stdout === null) throw new Error(`${options.name} has no output`);
  await new Promise<void>((resolve, reject) => {
    stdout.once("data", () => resolve());
    application.child.once("exit", () => reject(new Error(`${options.name} did not start: ${application.output()}`)));
  });
  return application;
}

async function callFrom<T>(from: LabHost, call: MeshCall): Promise<T> {
  const { stdout, stderr } = await from.run(process.execPath, [CLIENT, JSON.stringify(call)]);
  if (stdout === "") throw new Error(`the client failed: ${stderr}`);
  return JSON.parse(stdout) as T;
}
