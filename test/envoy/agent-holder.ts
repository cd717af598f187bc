import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { findEnvoy } from "../../agent/envoy-binary.ts";
import { startEnvoy } from "../../agent/envoy-process.ts";
import type { EnvoyOptions, EnvoyProcess } from "../../agent/envoy-process.ts";
import { silentLogger } from "../../base/logger.ts";
import { envoyPath } from "../support/envoy.ts";

/** A private run directory that is removed at the end. */
export function temporaryDir(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), "ironmesh-agent-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** An Envoy of a test, with the agent's own supervision around it. */
export async function startTestEnvoy(runDir: string, change: Partial<EnvoyOptions> = {}): Promise<EnvoyProcess> {
  return startEnvoy({
    binary: await findEnvoy(envoyPath(), ""),
    runDir,
    bootstrap: {
      hostId: "test-host",
      trustDomain: "mesh.internal",
      locality: { region: "", zone: "", subZone: "" },
      xdsSocketPath: join(runDir, "xds.sock"),
      maxConnections: 1_000,
    },
    concurrency: 1,
    logLevel: "info",
    drainMs: 2_000,
    logger: silentLogger,
    onAccessLog: () => undefined,
    ...change,
  });
}

// Run as a program it is an agent that gets killed: `node agent-holder.ts <run directory>`.
if (process.argv[1] === import.meta.filename && process.argv[2] !== undefined) {
  await startTestEnvoy(process.argv[2], { onChange: (status) => console.log(JSON.stringify(status)) });
  setInterval(() => undefined, 60_000);
}
