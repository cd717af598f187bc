import { spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { askSocket } from "./ads-envoy.ts";
import { envoyPath } from "./envoy.ts";
import { waitUntil } from "./wait-until.ts";

export interface StaticEnvoyOptions {
  /** A folder of its own: configuration, log, and `admin`, the socket of its admin interface. */
  readonly folder: string;
  /** Its whole bootstrap but for the admin interface. */
  readonly bootstrap: Readonly<Record<string, unknown>>;
  /** Those that there must be before it is taken for ready. */
  readonly listeners: readonly string[];
}

export interface StaticEnvoy {
  /** The port that a listener took. */
  portOf(listener: string): number;
  admin(path: string): Promise<string>;
  close(): Promise<void>;
}

/** A real Envoy with a bootstrap that is given as it is. */
export async function startStaticEnvoy({ folder, bootstrap, listeners }: StaticEnvoyOptions): Promise<StaticEnvoy> {
  const socket = join(folder, "admin");
  await writeFile(join(folder, "envoy.json"), JSON.stringify({ ...bootstrap, admin: { address: { pipe: { path: socket, mode: 0o600 } } } }));
  const log = openSync(join(folder, "log"), "w");
  const envoy = spawn(envoyPath(), ["-c", join(folder, "envoy.json"), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"], { stdio: ["ignore", log, log] });
  const ended = once(envoy, "exit");
  const close = async (): Promise<void> => {
    envoy.kill("SIGKILL");
    await ended;
  };
  const ports = new Map<string, number>();
  try {
    await waitUntil(
      async () => {
        if (envoy.exitCode !== null) throw new Error(`envoy ended with ${envoy.exitCode}`);
        const { body } = await askSocket(socket, "/listeners?format=json");
        const { listener_statuses: found = [] } = JSON.parse(body) as { listener_statuses?: readonly { name: string; local_address: { socket_address?: { port_value: number } } }[] };
        for (const { name, local_address: address } of found) ports.set(name, address.socket_address?.port_value ?? 0);
        return listeners.every((name) => ports.has(name));
      },
      { what: `envoy to have ${listeners.join(", ")}` },
    );
  } catch (cause) {
    await close();
    throw new Error((await readFile(join(folder, "log"), "utf8")).slice(-4_000), { cause });
  }
  return {
    portOf: (listener) => ports.get(listener) ?? 0,
    admin: async (path) => (await askSocket(socket, path)).body,
    close,
  };
}
