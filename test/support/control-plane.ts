import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, type Logger, type LogWrite } from "../../base/logger.ts";
import { apiClient, type ApiClient } from "../../cli/api-client.ts";
import { type BoundControlPlane, startControlPlane } from "../../cli/control-plane/app.ts";
import { controlPlaneSchema } from "../../cli/control-plane/config.ts";
import { runIronmesh } from "./ironmesh.ts";

/** The real control plane over a folder of its own, with the command line beside it. */
export interface ControlPlaneFixture {
  readonly folder: string;
  /** The folder of `state.db` and `ca.key`. */
  readonly stateDir: string;
  readonly api: ApiClient;
  /** Of the agents: the same after every start. */
  port(): number;
  /** The words and facts of what was logged as a warning or an error. */
  readonly log: readonly string[];
  /** Writes a file into the configuration directory. */
  write(name: string, yaml: string): void;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Runs a command, and gives what it prints to standard output. */
  ironmesh(...args: string[]): Promise<string>;
  /** Ends it and removes the folder. */
  close(): Promise<void>;
}

/** @param registries as its configuration has them */
export function prepareControlPlane(registries: readonly object[] = []): ControlPlaneFixture {
  const folder = mkdtempSync(join(tmpdir(), "ironmesh-control-"));
  const [configDir, stateDir, apiSocket] = [join(folder, "config"), join(folder, "control"), join(folder, "api.sock")];
  mkdirSync(configDir);
  mkdirSync(stateDir, { mode: 0o700 });
  const log: string[] = [];
  const record: LogWrite = (facts: unknown, message?: string) => void log.push(`${message ?? ""} ${JSON.stringify(facts)}`);
  const logger: Logger = { ...silentLogger, warn: record, error: record, child: () => logger };
  let bound: BoundControlPlane | undefined;
  let port = 0;
  const stop = async (): Promise<void> => {
    await bound?.close();
    bound = undefined;
  };
  return {
    folder,
    stateDir,
    api: apiClient(apiSocket),
    port: () => port,
    log,
    write: (name, yaml) => writeFileSync(join(configDir, name), yaml),
    async start() {
      const config = controlPlaneSchema.parse({
        configDir,
        stateDir,
        registries,
        listen: { agents: [{ host: "127.0.0.1", port }], metrics: { host: "127.0.0.1", port: 0 }, apiSocket },
      });
      bound = await startControlPlane(config, logger);
      port = (bound.agentAddresses[0] as { port: number }).port;
    },
    stop,
    ironmesh: (...args) => runIronmesh(apiSocket, args),
    async close() {
      await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
