import type { EventEmitter } from "node:events";
import type { Readable } from "node:stream";
import type { KubeConfig } from "@kubernetes/client-node";

/** As long as a person may take who is asked something. */
export const PLUGIN_MS = 60_000;

/** What the library starts a plugin with, Node's `spawn`, and what it reads of it. */
interface Plugin extends EventEmitter {
  readonly stdout: Readable;
  readonly stderr: Readable;
  kill(signal: "SIGKILL"): boolean;
}
type Spawn = (command: string, args: readonly string[] | undefined, options: object) => Plugin;

/** The part of the library's authenticators that starts plugins. */
interface Authenticators {
  readonly authenticators: readonly { execFn?: Spawn }[];
}

/**
 * Ends plugins of a kubeconfig that give no credentials in time: the library
 * waits for one for ever, and whoever asks it next waits for the same one.
 */
export function limitPlugins(config: KubeConfig, timeoutMs = PLUGIN_MS): void {
  for (const authenticator of (config as unknown as Authenticators).authenticators) {
    const { execFn: spawn } = authenticator;
    if (spawn === undefined) continue;
    authenticator.execFn = (command, args, options) => {
      const plugin = spawn(command, args, options);
      // Not Node's own timeout, which goes on where the command does not exist.
      const timer = setTimeout(() => plugin.kill("SIGKILL"), timeoutMs);
      plugin.once("error", () => clearTimeout(timer));
      plugin.once("exit", (_code, signal: string | null) => {
        clearTimeout(timer);
        if (signal === null) return;
        // The library's words for a plugin that failed are what that wrote there.
        plugin.stderr.emit("data", `${command} was ended by ${signal}${signal === "SIGKILL" ? `: it gave none within ${timeoutMs / 1_000} s` : ""}`);
        // What it has started itself may hold them open.
        plugin.stdout.destroy();
        plugin.stderr.destroy();
      });
      return plugin;
    };
  }
}
