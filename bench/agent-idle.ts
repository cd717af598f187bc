/**
 * What a host pays while nothing happens: memory and CPU of the agent and its
 * Envoy, on the hosts of the demo, and of their control plane. Needs root.
 *
 *     node bench/agent-idle.ts [--seconds 60]
 */
import { readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createNarrator } from "../demo/narrator.ts";
import { startWorld } from "../demo/world.ts";
import { runInPrivateNamespace } from "../test/support/private-namespace.ts";
import { usageOf } from "./process-usage.ts";

/** Tells the copy of this program that runs inside the namespaces who it is. */
const INSIDE = "IRONMESH_BENCH_INSIDE";
/** What a start leaves to be done: certificates, first reports, collected garbage. */
const SETTLING_MS = 20_000;

const { values } = parseArgs({ options: { seconds: { type: "string", default: "60" } } });
const seconds = Number(values.seconds);

/** What a process of the mesh is; undefined for all others. The namespaces hold no other mesh. */
function roleOf(pid: number): string | undefined {
  const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  if (/\/envoy[^/]*$/.test(words[0] ?? "")) return "envoy";
  const program = words.findIndex((word) => word.endsWith("/cli/main.ts"));
  return program === -1 ? undefined : words[program + 1];
}

async function inside(): Promise<void> {
  const world = await startWorld(createNarrator(() => {}, false));
  await sleep(SETTLING_MS);
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number);
  const processes = pids.flatMap((pid) => {
    const role = roleOf(pid);
    return role === undefined ? [] : [{ pid, role, before: usageOf(pid) }];
  });
  await sleep(seconds * 1_000);
  console.log(`${seconds} s at rest, three hosts, two services; ${cpus().length} × ${cpus()[0]?.model}; Node ${process.version}\n`);
  console.log("| process | resident MB | CPU ms per second |\n|---|---|---|");
  for (const { pid, role, before } of processes) {
    const after = usageOf(pid);
    const cpu = ((after.cpuSeconds - before.cpuSeconds) * 1_000) / seconds;
    console.log(`| ${role} | ${(after.residentBytes / 1e6).toFixed(0)} | ${cpu.toFixed(1)} |`);
  }
  await world.close();
  process.exit(0);
}

if (process.env[INSIDE] === undefined) {
  const { code } = await runInPrivateNamespace(process.execPath, [...process.execArgv, import.meta.filename, ...process.argv.slice(2)], {
    env: { ...process.env, [INSIDE]: "1" },
  });
  process.exitCode = code ?? 1;
} else await inside();
