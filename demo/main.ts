/**
 * npm run demo [-- OPTION…]: a mesh of three hosts on this machine, step by step;
 * the options are in `options.ts`.
 */
import type { ChildProcess } from "node:child_process";
import { readFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { messageOf } from "../base/coded-error.ts";
import { ensureConsul } from "../test/support/consul.ts";
import { ensureKubernetes, kubernetesPrograms } from "../test/support/kubernetes.ts";
import { endWithParent, runInPrivateNamespace } from "../test/support/private-namespace.ts";
import { runInside } from "./inside.ts";
import { parseOptions, USAGE } from "./options.ts";
import type { DemoOptions } from "./options.ts";
import { printPlayground } from "./playground.ts";
import type { Neighbours } from "./world.ts";

/** Tells the copy of this program that runs inside the namespaces who it is. */
const INSIDE = "IRONMESH_DEMO_INSIDE";
/** Tells it, as JSON, the programs beside the mesh, which are built out here: the inside has no network. */
const NEIGHBOURS = "IRONMESH_DEMO_NEIGHBOURS";

async function runOutside({ withConsul, withKubernetes }: DemoOptions, args: readonly string[]): Promise<number> {
  if (process.getuid?.() !== 0) {
    console.error("the demo makes network namespaces, which takes root: sudo npm run demo");
    return 1;
  }
  if (process.env["npm_lifecycle_event"] !== undefined) endWithParent();
  const consul = withConsul ? await ensureConsul() : undefined;
  if (consul !== undefined && "missing" in consul) {
    console.error(`demo: --with-consul needs a Consul: ${consul.missing}`);
    return 1;
  }
  const missing = withKubernetes ? await ensureKubernetes() : undefined;
  if (missing !== undefined) {
    console.error(`demo: --with-kubernetes needs a Kubernetes API: ${missing}`);
    return 1;
  }
  const neighbours: Neighbours = { consulPath: consul?.path, kubernetesPrograms: withKubernetes ? kubernetesPrograms() : undefined };
  // The terminal sends Ctrl-C to the inside too, which ends in order; here it only must not end us first.
  process.on("SIGINT", () => undefined);
  const { code } = await runInPrivateNamespace(process.execPath, ["--disable-warning=ExperimentalWarning", fileURLToPath(import.meta.url), ...args], {
    env: { ...process.env, [INSIDE]: "1", [NEIGHBOURS]: JSON.stringify(neighbours) },
    stdio: ["inherit", "inherit", "inherit", "pipe"],
    onStart: (child) => {
      for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill("SIGKILL"));
      // The inside cannot know its process id out here, which people need to enter it.
      (child.stdio[3] as Readable | null)?.once("data", () => void announce(child, consul?.path));
    },
  });
  return code ?? 1;
}

async function announce(child: ChildProcess, consulPath: string | undefined): Promise<void> {
  const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, "utf8");
  printPlayground(Number(children.trim().split(" ")[0]), consulPath);
}

const args = process.argv.slice(2);
try {
  const options = parseOptions(args);
  if (options.isHelp) process.stdout.write(USAGE);
  else if (process.env[INSIDE] === undefined) process.exitCode = await runOutside(options, args);
  else process.exitCode = await runInside({ isOnce: options.isOnce, neighbours: JSON.parse(process.env[NEIGHBOURS] ?? "{}") as Neighbours });
} catch (failure) {
  console.error(`demo: ${messageOf(failure)} (npm run demo -- --help)`);
  process.exitCode = 1;
}
