/**
 * What the mesh costs a request: from one host to another at a constant rate,
 * directly and through capture, two Envoys and mutual TLS, in turns. Needs root.
 *
 *     node bench/request-path.ts [--rate 1000] [--seconds 5] [--rounds 5] [--connections 16]
 */
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type MeshScenario, startMeshScenario, UID, VIP } from "../test/support/mesh-scenario.ts";
import { runInPrivateNamespace } from "../test/support/private-namespace.ts";
import { usageOf } from "./process-usage.ts";

/** Tells the copy of this program that runs inside the namespaces who it is. */
const INSIDE = "IRONMESH_BENCH_INSIDE";

const { values } = parseArgs({
  options: {
    rate: { type: "string", default: "1000" },
    seconds: { type: "string", default: "5" },
    rounds: { type: "string", default: "5" },
    connections: { type: "string", default: "16" },
  },
});
const [rate, seconds, rounds, connections] = [Number(values.rate), Number(values.seconds), Number(values.rounds), Number(values.connections)];

interface Way {
  readonly name: string;
  readonly call: { readonly uid: number; readonly host: string; readonly port: number; readonly authority: string };
  readonly latenciesMs: number[];
  failed: number;
  /** Of each Envoy, for all rounds. */
  readonly cpuSeconds: Record<"a" | "b", number>;
}

async function measure(mesh: MeshScenario, way: Way): Promise<void> {
  const cpuOf = (host: "a" | "b"): number => usageOf(mesh.proxies[host].envoy.child.pid ?? 0).cpuSeconds;
  const before = { a: cpuOf("a"), b: cpuOf("b") };
  const load = JSON.stringify({ ...way.call, rate, seconds, connections });
  const { stdout, stderr } = await mesh.hosts.a.run(process.execPath, [join(import.meta.dirname, "request-load.mjs"), load]);
  if (stdout === "") throw new Error(`the load ended badly: ${stderr}`);
  const { latenciesMs, failed } = JSON.parse(stdout) as { latenciesMs: number[]; failed: number };
  way.latenciesMs.push(...latenciesMs);
  way.failed += failed;
  for (const host of ["a", "b"] as const) way.cpuSeconds[host] += cpuOf(host) - before[host];
}

async function inside(): Promise<void> {
  const mesh = await startMeshScenario();
  const way = (name: string, call: Way["call"]): Way => ({ name, call, latenciesMs: [], failed: 0, cpuSeconds: { a: 0, b: 0 } });
  const ways = [
    // Nobody's user, so it is not captured; and c is in no mesh.
    way("direct", { uid: UID.stranger, host: mesh.hosts.c.addresses.v4, port: 8080, authority: "outside" }),
    way("through the mesh", { uid: UID.web, host: VIP.reviews[0], port: 8080, authority: "reviews" }),
  ];
  for (let round = 0; round < rounds; round += 1) for (const one of ways) await measure(mesh, one);

  console.log(`${rate} requests/s over ${connections} connections, ${rounds} rounds of ${seconds} s each; ${cpus().length} × ${cpus()[0]?.model}; Node ${process.version}\n`);
  console.log("| way | p50 ms | p99 ms | failed | client's Envoy, CPU ms per 1,000 requests | server's Envoy |\n|---|---|---|---|---|---|");
  for (const { name, latenciesMs, failed, cpuSeconds } of ways) {
    const sorted = latenciesMs.toSorted((left, right) => left - right);
    const at = (share: number): string => (sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN).toFixed(2);
    const each = (host: "a" | "b"): string => ((cpuSeconds[host] * 1e6) / sorted.length).toFixed(0);
    console.log(`| ${name} | ${at(0.5)} | ${at(0.99)} | ${failed} | ${each("a")} | ${each("b")} |`);
  }
  await mesh.close();
}

if (process.env[INSIDE] === undefined) {
  const { code } = await runInPrivateNamespace(process.execPath, [...process.execArgv, import.meta.filename, ...process.argv.slice(2)], {
    env: { ...process.env, [INSIDE]: "1" },
  });
  process.exitCode = code ?? 1;
} else await inside();
