import { writeSync } from "node:fs";
import { inspect } from "node:util";
import { createNarrator, withHeartbeat } from "./narrator.ts";
import type { Narrator } from "./narrator.ts";
import { stepsOf } from "./steps.ts";
import { readLogTails } from "./logs.ts";
import { startWorld } from "./world.ts";
import type { Neighbours, World } from "./world.ts";

/** The descriptor on which the outside waits for the end of the steps. */
const ANNOUNCE_FD = 3;
const LOG_TAIL_BYTES = 3_000;
/** On a busy machine a wait can take a minute, which must not look like a standstill. */
const SILENCE_MS = 5_000;

export interface InsideOptions {
  readonly isOnce: boolean;
  /** What stands beside the mesh. */
  readonly neighbours: Neighbours;
}

/**
 * The demo, alone in its namespaces, whose first process this is.
 *
 * @returns the exit code
 */
export async function runInside(options: InsideOptions): Promise<number> {
  // The first process of a namespace gets no signal that it does not ask for.
  const interrupted = new Promise<"interrupted">((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve("interrupted"));
  });
  // What still runs ends with this process, which is the first of its namespace.
  const outcome = await Promise.race([show(options), interrupted]);
  if (outcome !== "interrupted" && options.isOnce) process.exit(outcome);
  if (outcome !== "interrupted") {
    // After a failure too: the mesh is there to be looked at.
    writeSync(ANNOUNCE_FD, "ready\n");
    await interrupted;
  }
  process.stdout.write("\nending the demo\n");
  process.exit(outcome === "interrupted" ? 130 : outcome);
}

async function show(options: InsideOptions): Promise<number> {
  const heartbeat = withHeartbeat((line) => void process.stdout.write(`${line}\n`), SILENCE_MS);
  try {
    return await showSteps(options, createNarrator(heartbeat.write, process.stdout.isTTY));
  } finally {
    heartbeat.close();
  }
}

async function showSteps({ isOnce, neighbours }: InsideOptions, narrator: Narrator): Promise<number> {
  const [hasConsul, hasKubernetes] = [neighbours.consulPath !== undefined, neighbours.kubernetesPrograms !== undefined];
  const steps = stepsOf({ hasConsul, hasKubernetes });
  narrator.say("Starting a control plane and three hosts, each with its agent, Envoy and applications …");
  if (hasConsul) narrator.say("and beside them a Consul cluster: a server, and two boxes that are not in the mesh …");
  if (hasKubernetes) narrator.say("and a Kubernetes API with its etcd, and a node whose pods it tells about …");
  let world: World;
  try {
    world = await startWorld(narrator, neighbours);
  } catch (failure) {
    return await report("the start", failure);
  }
  for (const [index, step] of steps.entries()) {
    narrator.step(index + 1, step.title);
    try {
      await step.run(world);
    } catch (failure) {
      return await report(`step ${index + 1} (${step.title})`, failure);
    }
  }
  narrator.say("");
  narrator.proof(`all ${steps.length} steps held`);
  if (isOnce) await world.close();
  return 0;
}

async function report(what: string, failure: unknown): Promise<number> {
  console.error(`\n ✗ ${what} failed: ${failure instanceof Error ? failure.message : inspect(failure)}`);
  if (failure instanceof Error && failure.cause !== undefined) console.error(`   because: ${inspect(failure.cause)}`);
  for (const [name, text] of await readLogTails(LOG_TAIL_BYTES)) console.error(`\n── end of ${name}\n${text.trimEnd()}`);
  return 1;
}
