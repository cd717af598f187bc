/**
 * Many services in one registry: how long until they are the catalog and a
 * proxy has them, what they cost at rest, and how long a change takes from the
 * registry to a proxy, alone and under churn. The registry (a real Consul, a
 * real kube-apiserver with etcd; YAML and hosts are told in process), the
 * control plane and this process, which changes and looks, are processes of
 * their own, in private namespaces (needs root).
 *
 *     node bench/registries.ts static|hosts|consul|consul-https|kubernetes … [--services 10000] [--endpoints 5]
 *         [--rate 100] [--seconds 30] [--rest 20] [--singles 20] [--patience 60]
 */
import { type ChildProcess, fork } from "node:child_process";
import { on, once } from "node:events";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { runInPrivateNamespace } from "../test/support/private-namespace.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";
import { usageOf } from "./process-usage.ts";
import { type PushClient, startPushClient } from "./push-clients.ts";
import { startConsulSource } from "./registry-consul.ts";
import { startKubernetesSource } from "./registry-kubernetes.ts";
import type { PlaneAnswer, PlaneRequest } from "./registry-plane.ts";
import { SERVICE_PORT, serviceName, type Size, type Source, SOURCE_KINDS, type SourceKind } from "./registry-source.ts";

const INSIDE = "IRONMESH_BENCH_INSIDE";
/** Writes to the registry that may be on their way at once. */
const MAX_WRITES = 12;
/** What is garbage after the start is collected in this time. */
const SETTLING_MS = 5_000;
const MAX_START_MS = 900_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    services: { type: "string", default: "10000" },
    endpoints: { type: "string", default: "5" },
    rate: { type: "string", default: "100" },
    seconds: { type: "string", default: "30" },
    rest: { type: "string", default: "20" },
    singles: { type: "string", default: "20" },
    patience: { type: "string", default: "60" },
  },
});
const size: Size = { services: Number(values.services), endpoints: Number(values.endpoints) };
const patienceMs = Number(values.patience) * 1_000;
const now = (): number => performance.timeOrigin + performance.now();

function kindsAsked(): readonly SourceKind[] {
  const unknown = positionals.filter((word) => !SOURCE_KINDS.includes(word as SourceKind));
  if (unknown.length > 0) throw new Error(`${unknown.join(", ")}: there are ${SOURCE_KINDS.join(", ")}`);
  return positionals.length === 0 ? SOURCE_KINDS : (positionals as SourceKind[]);
}

async function startSource(kind: SourceKind): Promise<Source | undefined> {
  if (kind === "consul" || kind === "consul-https") return startConsulSource(size, kind === "consul-https");
  return kind === "kubernetes" ? startKubernetesSource(size) : undefined;
}

/** Changes that are on their way to the simulated proxy, by the name of their load assignment. */
class Flight {
  readonly #sentAt = new Map<string, number>();
  readonly delaysMs: number[] = [];
  sent = 0;
  get open(): number {
    return this.#sentAt.size;
  }
  isOpen(name: string): boolean {
    return this.#sentAt.has(name);
  }
  send(name: string): void {
    this.#sentAt.set(name, now());
    this.sent += 1;
  }
  arrive(name: string): void {
    const sentAt = this.#sentAt.get(name);
    if (sentAt === undefined) return;
    this.#sentAt.delete(name);
    this.delaysMs.push(now() - sentAt);
  }
}

async function measure(kind: SourceKind): Promise<void> {
  const source = await startSource(kind);
  const plane = fork(join(import.meta.dirname, "registry-plane.ts"));
  const answer = answersOf(plane);
  let client: PushClient | undefined;
  try {
    const filling = now();
    await source?.fill();
    const filledMs = now() - filling;
    const clusterName = (index: number): string => source?.clusterName(index) ?? `outbound|${SERVICE_PORT}||${serviceName(index)}.default.svc.mesh.internal`;
    let flight = new Flight();

    say(plane, { kind: "start", size, registry: source?.config ?? { kind: kind === "hosts" ? "hosts" : "static" } });
    const serving = await answer("serving");
    client = await startPushClient({
      connection: { target: serving.target, maxMessageBytes: 256 << 20 },
      node: { id: "client" },
      wildcardTypes: [TYPE_URLS.cluster, TYPE_URLS.clusterLoadAssignment, TYPE_URLS.listener, TYPE_URLS.routeConfiguration, TYPE_URLS.virtualHost, TYPE_URLS.nameRecord],
      onResource: (typeUrl, name) => typeUrl === TYPE_URLS.clusterLoadAssignment && flight.arrive(name),
    });
    const { catalogMs, cpuSeconds, scrapeCpuMs, longestBlocksMs } = await answer("complete");
    const held = client;
    while (Math.min(held.held(TYPE_URLS.clusterLoadAssignment), held.held(TYPE_URLS.virtualHost)) < size.services) await sleep(20);
    const proxyMs = now() - serving.startedAt;
    const started = usageOf(pidOf(plane));

    await sleep(SETTLING_MS);
    const before = usageOf(pidOf(plane));
    await sleep(Number(values.rest) * 1_000);
    const rest = usageOf(pidOf(plane));
    const restMs = ((rest.cpuSeconds - before.cpuSeconds) * 1_000) / Number(values.rest);

    const generations = new Map<number, number>();
    const change = async (index: number): Promise<void> => {
      const generation = (generations.get(index) ?? 0) + 1;
      generations.set(index, generation);
      flight.send(clusterName(index));
      if (source === undefined) say(plane, { kind: "change", index, generation });
      else await source.change(index, generation);
    };
    const settle = async (): Promise<void> => {
      for (const until = now() + patienceMs; flight.open > 0 && now() < until; ) await sleep(5);
    };

    for (let single = 0; single < Number(values.singles) && flight.open === 0; single += 1) {
      await change((single * 7) % size.services);
      await settle();
      await sleep(200 + 37 * (single % 5));
    }
    const singles = flight;
    // What has not come yet would be taken for another change.
    flight = new Flight();
    const missing = new Set(singles.open === 0 ? [] : Array.from({ length: size.services }, (_, index) => clusterName(index)).filter((name) => singles.isOpen(name)));

    const churning = usageOf(pidOf(plane));
    const beginning = now();
    const end = beginning + Number(values.seconds) * 1_000;
    let writing = 0;
    let failure: unknown;
    for (let next = 0, due = beginning; now() < end && failure === undefined; ) {
      await sleep(5);
      for (; due < now(); due += 1_000 / Number(values.rate)) {
        const index = next++ % size.services;
        // A service that is on its way still cannot tell two changes apart: this one is left out.
        if (writing >= MAX_WRITES || flight.isOpen(clusterName(index)) || missing.has(clusterName(index))) continue;
        writing += 1;
        change(index).then(() => (writing -= 1), (thrown: unknown) => (failure = thrown));
      }
    }
    if (failure !== undefined) throw failure;
    const churnSeconds = (now() - beginning) / 1_000;
    const churned = usageOf(pidOf(plane));
    await settle();

    console.log(`\n${kind}: ${size.services} services × ${size.endpoints} endpoints${source === undefined ? "" : `; ${source.program}; filled in ${(filledMs / 1_000).toFixed(0)} s`}; load average ${loadavg()[0]?.toFixed(0)}`);
    console.log(`until the catalog is complete ${(catalogMs / 1_000).toFixed(1)} s (CPU ${cpuSeconds.toFixed(1)} s), until a proxy has everything ${(proxyMs / 1_000).toFixed(1)} s (CPU since the process began ${started.cpuSeconds.toFixed(1)} s, ${(held.bytes() / 1e6).toFixed(0)} MB sent)`);
    console.log(`longest blocks of the event loop until the catalog is complete (CPU ms): ${longestBlocksMs.map((ms) => ms.toFixed(0)).join(", ")}`);
    console.log(`at rest ${(rest.residentBytes / 1e6).toFixed(0)} MB resident (peak ${(rest.peakBytes / 1e6).toFixed(0)} MB), CPU ${restMs.toFixed(1)} ms per second; a scrape of the metrics ${scrapeCpuMs.toFixed(0)} ms of CPU`);
    console.log(`one change at a time: ${describe(singles)}`);
    console.log(`${(flight.sent / churnSeconds).toFixed(0)} changes per second for ${churnSeconds.toFixed(0)} s: ${describe(flight)}; CPU ${(((churned.cpuSeconds - churning.cpuSeconds) * 1_000) / churnSeconds).toFixed(0)} ms per second, ${(usageOf(pidOf(plane)).residentBytes / 1e6).toFixed(0)} MB resident`);
    say(plane, { kind: "stop" });
    await once(plane, "exit");
  } finally {
    await client?.close();
    if (plane.exitCode === null) plane.kill();
    await source?.stop();
  }
}

function describe({ delaysMs, sent, open }: Flight): string {
  const sorted = delaysMs.toSorted((left, right) => left - right);
  const at = (share: number): string => (sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN).toFixed(0);
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms of ${sorted.length} that arrived, ${open} of ${sent} not within ${values.patience} s`;
}

function say(plane: ChildProcess, request: PlaneRequest): void {
  plane.send(request);
}

/** Its answers in the order in which they come; those that nobody awaits yet wait. */
function answersOf(plane: ChildProcess): <K extends PlaneAnswer["kind"]>(kind: K) => Promise<PlaneAnswer & { readonly kind: K }> {
  const answers = on(plane, "message", { close: ["exit"], signal: AbortSignal.timeout(MAX_START_MS) });
  return async (kind) => {
    const next = await answers.next();
    const [answer] = next.done === true ? [] : (next.value as [PlaneAnswer]);
    if (answer?.kind !== kind) throw new Error(`the control plane says ${answer?.kind ?? "nothing and ended"} instead of ${kind}`);
    return answer as PlaneAnswer & { readonly kind: typeof kind };
  };
}

function pidOf({ pid }: ChildProcess): number {
  return pid ?? 0;
}

const kinds = kindsAsked();
if (process.env[INSIDE] === undefined) {
  const { code } = await runInPrivateNamespace(process.execPath, [...process.execArgv, import.meta.filename, ...process.argv.slice(2)], { env: { ...process.env, [INSIDE]: "1" } });
  process.exitCode = code ?? 1;
} else {
  console.log(`${cpus().length} × ${cpus()[0]?.model}; Node ${process.version}`);
  for (const kind of kinds) await measure(kind);
  process.exit(0);
}
