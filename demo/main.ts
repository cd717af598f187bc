/**
 * npm run demo [-- --once]: a mesh of three hosts on this machine, step by step.
 * With --once it ends after the last step; its exit code says whether all held.
 */
import type { ChildProcess } from "node:child_process";
import { readFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { messageOf } from "../base/coded-error.ts";
import { endWithParent, runInPrivateNamespace } from "../test/support/private-namespace.ts";
import { runInside } from "./inside.ts";
import { printPlayground } from "./playground.ts";

/** Tells the copy of this program that runs inside the namespaces who it is. */
const INSIDE = "IRONMESH_DEMO_INSIDE";

function parseCommandLine(args: string[]): { readonly isOnce: boolean } {
  const { values } = parseArgs({ args, options: { once: { type: "boolean", default: false } } });
  return { isOnce: values.once };
}

async function runOutside(args: readonly string[]): Promise<number> {
  if (process.getuid?.() !== 0) {
    console.error("the demo makes network namespaces, which takes root: sudo npm run demo");
    return 1;
  }
  if (process.env["npm_lifecycle_event"] !== undefined) endWithParent();
  // The terminal sends Ctrl-C to the inside too, which ends in order; here it only must not end us first.
  process.on("SIGINT", () => undefined);
  const { code } = await runInPrivateNamespace(process.execPath, ["--disable-warning=ExperimentalWarning", fileURLToPath(import.meta.url), ...args], {
    env: { ...process.env, [INSIDE]: "1" },
    stdio: ["inherit", "inherit", "inherit", "pipe"],
    onStart: (child) => {
      for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill("SIGKILL"));
      // The inside cannot know its process id out here, which people need to enter it.
      (child.stdio[3] as Readable | null)?.once("data", () => void announce(child));
    },
  });
  return code ?? 1;
}

async function announce(child: ChildProcess): Promise<void> {
  const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, "utf8");
  printPlayground(Number(children.trim().split(" ")[0]));
}

const args = process.argv.slice(2);
try {
  const { isOnce } = parseCommandLine(args);
  process.exitCode = process.env[INSIDE] === undefined ? await runOutside(args) : await runInside({ isOnce });
} catch (failure) {
  console.error(`demo: ${messageOf(failure)}`);
  process.exitCode = 1;
}
