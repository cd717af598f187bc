/**
 * A fleet of hosts on the agents' own port: the real control plane with its
 * store on disk, and the agents' own modules (without Envoy, rules and probes)
 * in two more processes, over mutual TLS on loopback. Joins, changes, rest, a
 * kill, a stop, and the renewal of all certificates at once. So many hosts join
 * at a time until each has everything.
 *
 *     node bench/fleet.ts [--hosts 3000] [--services 200] [--at-once 64] [--rest 30] [--rounds 3] [--down 2] [--stopped 20]
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { apiClient } from "../cli/api-client.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";
import type { FleetAnswer, FleetRequest } from "./fleet-agents.ts";
import { endpointYaml, groupOf, groupsYaml, serviceCluster, serviceYaml, virtualServiceYaml } from "./fleet-content.ts";
import type { PlaneAnswer, PlaneRequest } from "./fleet-plane.ts";
import { type ProcessUsage, usageOf } from "./process-usage.ts";
import { SERVICE_PORT, serviceName } from "./registry-source.ts";

const PROCESSES = 2;
const SETTLING_MS = 8_000;
const PATIENCE_MS = 1_500_000;
/** A host that is lost would be gone after its grace. */
const AFTERWARDS_MS = 8_000;

const { values } = parseArgs({
  options: {
    hosts: { type: "string", default: "3000" },
    services: { type: "string", default: "200" },
    "at-once": { type: "string", default: "64" },
    rest: { type: "string", default: "30" },
    rounds: { type: "string", default: "3" },
    down: { type: "string", default: "2" },
    stopped: { type: "string", default: "20" },
  },
});
const [hosts, services, atOnce, rest, rounds, down, stopped] = [values.hosts, values.services, values["at-once"], values.rest, values.rounds, values.down, values.stopped].map(Number) as [number, number, number, number, number, number, number];
const now = (): number => performance.timeOrigin + performance.now();

const folder = await mkdtemp(join(tmpdir(), "ironmesh-bench-"));
// What thousands of machines write on a disk each must not wait for this one.
const hostsFolder = await mkdtemp(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "ironmesh-bench-"));
const configDir = join(folder, "config");
const apiSocket = join(folder, "api.sock");
await mkdir(configDir);
const write = async (name: string, yaml: string): Promise<void> => {
  await writeFile(join(folder, name), yaml);
  await rename(join(folder, name), join(configDir, name));
};
await write("groups.yaml", groupsYaml());
await write("services.yaml", Array.from({ length: services }, (_, index) => serviceYaml(index, index === 7 ? [1] : [0, 1])).join("\n---\n"));

let plane: ChildProcess;
let ports = { agents: 0, metrics: 0 };
const ask = (request: PlaneRequest): boolean => plane.send(request);
const answer = async (): Promise<PlaneAnswer> => ((await once(plane, "message")) as [PlaneAnswer])[0];
async function startPlane(): Promise<void> {
  plane = fork(join(import.meta.dirname, "fleet-plane.ts"));
  ask({ kind: "start", config: { configDir, stateDir: join(folder, "state"), listen: { agents: [{ host: "127.0.0.1", port: ports.agents }], metrics: { host: "127.0.0.1", port: ports.metrics }, apiSocket } } });
  const serving = await answer();
  if (serving.kind !== "serving") throw new Error("the control plane is out of step");
  ports = { agents: serving.agentPort, metrics: serving.metricsPort };
}
const usage = (): ProcessUsage => usageOf(plane.pid ?? 0);
async function longestBlock(): Promise<number> {
  ask({ kind: "blocks" });
  const answered = await answer();
  return answered.kind === "blocks" ? answered.longestMs : Number.NaN;
}

const fleet = Array.from({ length: PROCESSES }, () => fork(join(import.meta.dirname, "fleet-agents.ts")));
const tell = (request: FleetRequest): void => {
  for (const one of fleet) one.send(request);
};
async function look(): Promise<readonly FleetAnswer[]> {
  const answers = fleet.map(async (one) => ((await once(one, "message")) as [FleetAnswer])[0]);
  tell({ kind: "look" });
  return Promise.all(answers);
}
async function until(what: string, isDone: (answers: readonly FleetAnswer[]) => boolean): Promise<readonly FleetAnswer[]> {
  for (const endMs = now() + PATIENCE_MS; ; await sleep(250)) {
    const answers = await look();
    if (isDone(answers)) return answers;
    if (now() > endMs) throw new Error(`not within ${PATIENCE_MS / 1_000} s: ${what}; ${JSON.stringify(answers.map(({ counts, synced, joined }) => ({ counts, synced, joined })))}`);
  }
}
const sum = (answers: readonly FleetAnswer[], value: (one: FleetAnswer) => number): number => answers.reduce((total, one) => total + value(one), 0);
const allSynced = (answers: readonly FleetAnswer[]): boolean => sum(answers, ({ synced }) => synced) === hosts;
const latest = (answers: readonly FleetAnswer[]): number => answers.flatMap(({ syncedAtMs }) => syncedAtMs).reduce((last, at) => Math.max(last, at), 0);
const seconds = (ms: number): string => (ms / 1_000).toFixed(1);
const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);

/** Prints what one step cost the control plane, and what the hosts saw. */
async function report(what: string, tookMs: number, cpuSeconds: number, answers: readonly FleetAnswer[], more = ""): Promise<void> {
  const { residentBytes, peakBytes } = usage();
  const complaints = new Map<string, number>();
  for (const { counts } of answers) for (const [words, count] of Object.entries(counts.complaints)) complaints.set(words, (complaints.get(words) ?? 0) + count);
  console.log(`\n${what}: ${seconds(tookMs)} s; CPU ${cpuSeconds.toFixed(2)} s; ${megabytes(residentBytes)} MB resident (peak ${megabytes(peakBytes)}); longest block ${(await longestBlock()).toFixed(0)} ms (fleet ${Math.max(...answers.map(({ longestBlockMs }) => longestBlockMs)).toFixed(0)})${more}`);
  console.log(`  streams ${sum(answers, ({ counts }) => counts.streams)}, of hosts with more than one ${sum(answers, ({ again }) => again)}; ${megabytes(sum(answers, ({ counts }) => counts.receivedBytes))} MB to hosts, ${megabytes(sum(answers, ({ counts }) => counts.sentBytes))} MB from them`);
  console.log(`  endpoints of hosts ${answers.map(({ endpoints, fewestEndpoints, endpointChanges }) => `${endpoints} (fewest ${fewestEndpoints}, changed ${endpointChanges} times)`).join(", ")}; load average ${loadavg()[0]?.toFixed(1)}`);
  for (const [words, count] of [...complaints].toSorted(([, left], [, right]) => right - left).slice(0, 8)) console.log(`  ${count} × ${words}`);
}

async function states(): Promise<string> {
  const counted = new Map<string, number>();
  for (const { state } of (await apiClient(apiSocket).get("/api/v1/hosts")) as readonly { readonly state: string }[]) counted.set(state, (counted.get(state) ?? 0) + 1);
  return [...counted].map(([state, count]) => `${state} ${count}`).join(", ");
}

async function timed(what: string, act: () => Promise<unknown>): Promise<void> {
  const [before, startMs] = [usage().cpuSeconds, now()];
  await act();
  const tookMs = now() - startMs;
  await sleep(200);
  console.log(`  ${what}: ${tookMs.toFixed(0)} ms, CPU ${((usage().cpuSeconds - before) * 1_000).toFixed(0)} ms`);
}

async function change(what: string, resources: readonly { readonly typeUrl: string; readonly name: string }[], act: (round: number) => Promise<void>): Promise<void> {
  const delaysMs: number[] = [];
  const before = usage().cpuSeconds;
  let bytes = 0;
  for (let round = 1; round <= rounds; round += 1) {
    tell({ kind: "reset", resources: resources.map(({ typeUrl, name }) => ({ typeUrl, name: name.replaceAll("ROUND", String(services + round)) })) });
    await look();
    const startMs = now();
    await act(round);
    const answers = await until(what, (all) => sum(all, ({ arrivedAtMs }) => arrivedAtMs.length) === hosts);
    delaysMs.push(...answers.flatMap(({ arrivedAtMs }) => arrivedAtMs.map((at) => at - startMs)));
    bytes += sum(answers, ({ counts }) => counts.receivedBytes);
  }
  const sorted = delaysMs.toSorted((left, right) => left - right);
  const at = (share: number): string => (sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN).toFixed(0);
  console.log(`  ${what}: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, last ${at(1)} ms; CPU ${((usage().cpuSeconds - before) / rounds).toFixed(2)} s, ${megabytes(bytes / rounds)} MB a round`);
}

try {
  console.log(`${hosts} hosts, ${services} services × 2 endpoints, ${PROCESSES} processes of hosts; ${cpus().length} × ${cpus()[0]?.model}; Node ${process.version}`);
  await startPlane();

  const api = apiClient(apiSocket);
  const apply = async (yaml: string): Promise<void> => {
    const { status, body } = await api.send("PUT", "/api/v1/config?file=bench.yaml", { type: "application/yaml", text: yaml });
    if (status !== 200) throw new Error(JSON.stringify(body));
  };
  await apply(endpointYaml(7, 0));
  const [makingMs, beforeTokens] = [now(), usage().cpuSeconds];
  const tokens: string[] = [];
  for (let index = 0; index < hosts; index += 1) {
    const { body } = await api.send("POST", "/api/v1/tokens", { type: "application/json", text: JSON.stringify({ groups: [`default/${groupOf(index)}`] }) });
    tokens.push((body as { readonly token: string }).token);
  }
  console.log(`\n${hosts} tokens, one after the other: ${seconds(now() - makingMs)} s, CPU ${(usage().cpuSeconds - beforeTokens).toFixed(1)} s`);
  await longestBlock();

  const [joiningMs, beforeJoins] = [now(), usage().cpuSeconds];
  const share = Math.ceil(hosts / PROCESSES);
  for (const [at, one] of fleet.entries()) one.send({ kind: "start", port: ports.agents, first: at * share, tokens: tokens.slice(at * share, (at + 1) * share), stateDir: hostsFolder, atOnce: Math.ceil(atOnce / PROCESSES) } satisfies FleetRequest);
  await until("joins", (answers) => sum(answers, ({ joined }) => joined) === hosts);
  const joinedMs = now() - joiningMs;
  const joinCpu = usage().cpuSeconds - beforeJoins;
  const complete = await until("streams", allSynced);
  console.log(`\nall joined after ${seconds(joinedMs)} s (CPU ${joinCpu.toFixed(1)} s), attempts ${sum(complete, ({ counts }) => counts.joinAttempts)}`);
  await report("all joined and complete", latest(complete) - joiningMs, usage().cpuSeconds - beforeJoins, complete);
  await until("endpoints", (answers) => answers.every(({ endpoints }) => endpoints === hosts));
  await report("all endpoints known", now() - joiningMs, usage().cpuSeconds - beforeJoins, await look(), `; ${await states()}`);

  await sleep(SETTLING_MS);
  tell({ kind: "reset", resources: [] });
  await longestBlock();
  const restBefore = usage().cpuSeconds;
  await sleep(rest * 1_000);
  const restCpu = usage().cpuSeconds - restBefore;
  await report("rest", rest * 1_000, restCpu, await look(), `; ${((restCpu * 1_000) / rest).toFixed(1)} ms of CPU per second`);
  await timed("a scrape of the metrics", async () => (await fetch(`http://127.0.0.1:${ports.metrics}/metrics`)).text());
  await timed("get hosts", async () => api.get("/api/v1/hosts"));
  await timed("proxy-status", async () => api.get("/api/v1/proxies"));
  await longestBlock();

  console.log("\nchanges");
  await change("one endpoint", [{ typeUrl: TYPE_URLS.clusterLoadAssignment, name: serviceCluster(7) }], (round) => apply(endpointYaml(7, 0, round)));
  const virtualHost = (name: string): string => `${SERVICE_PORT}/${name}.default.svc.mesh.internal:${SERVICE_PORT}`;
  await change("one VirtualService", [{ typeUrl: TYPE_URLS.virtualHost, name: virtualHost(serviceName(7)) }], (round) => apply(virtualServiceYaml(7, round)));
  await change(
    "one new service",
    [
      { typeUrl: TYPE_URLS.cluster, name: serviceCluster(0).replace("service-0", "service-ROUND") },
      { typeUrl: TYPE_URLS.clusterLoadAssignment, name: serviceCluster(0).replace("service-0", "service-ROUND") },
      { typeUrl: TYPE_URLS.virtualHost, name: virtualHost("service-ROUND") },
    ],
    (round) => apply(serviceYaml(services + round, [0, 1])),
  );
  console.log(`  longest block ${(await longestBlock()).toFixed(0)} ms`);

  await sleep(SETTLING_MS);
  tell({ kind: "reset", resources: [] });
  await look();
  const killedMs = now();
  const before = plane!;
  before.kill("SIGKILL");
  await once(before, "exit");
  await sleep(down * 1_000);
  const startedMs = now();
  await startPlane();
  const servingMs = now();
  const startBlockMs = await longestBlock();
  const back = await until("all back", (answers) => allSynced(answers) && sum(answers, ({ syncedAtMs }) => syncedAtMs.length) === hosts);
  await report("killed, and all back", latest(back) - killedMs, usage().cpuSeconds, back, `; down for ${seconds(startedMs - killedMs)} s, serving after ${seconds(servingMs - startedMs)} s, all back ${seconds(latest(back) - servingMs)} s later (its start blocked for ${startBlockMs.toFixed(0)} ms); ${await states()}`);
  await sleep(AFTERWARDS_MS);
  await report("… and afterwards", AFTERWARDS_MS, usage().cpuSeconds, await look(), `; ${await states()}`);

  tell({ kind: "reset", resources: [] });
  await look();
  const [stoppedMs, beforeStop] = [now(), usage().cpuSeconds];
  plane!.kill("SIGSTOP");
  await sleep(stopped * 1_000);
  plane!.kill("SIGCONT");
  const continuedMs = now();
  await sleep(AFTERWARDS_MS);
  const again = await until("all back", allSynced);
  await report(`stopped for ${stopped} s, and all back`, latest(again) === 0 ? 0 : latest(again) - continuedMs, usage().cpuSeconds - beforeStop, again, `; ${seconds(now() - stoppedMs)} s in all; ${await states()}`);

  await sleep(SETTLING_MS);
  tell({ kind: "reset", resources: [] });
  await look();
  const [renewingMs, beforeRenewal] = [now(), usage().cpuSeconds];
  tell({ kind: "renew" });
  await until("renewals", (answers) => sum(answers, ({ counts }) => counts.renewed) >= hosts);
  const renewedMs = now() - renewingMs;
  await sleep(AFTERWARDS_MS);
  const renewed = await until("all back", allSynced);
  await report("certificates of all hosts", renewedMs, usage().cpuSeconds - beforeRenewal, renewed, `; last stream after ${seconds(latest(renewed) - renewingMs)} s; ${await states()}`);
} finally {
  for (const one of [plane!, ...fleet]) one?.kill("SIGKILL");
  for (const path of [folder, hostsFolder]) await rm(path, { recursive: true, force: true });
}
process.exit(0);
