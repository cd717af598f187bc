/**
 * The real control plane in a process of its own, with its store on disk.
 * Started by `bench/fleet.ts` with `fork`; speaks by messages.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { silentLogger } from "../base/logger.ts";
import { startControlPlane } from "../cli/control-plane/app.ts";
import { controlPlaneSchema } from "../cli/control-plane/config.ts";

/** What the benchmark asks. */
export type PlaneRequest = { readonly kind: "start"; readonly config: object } | { readonly kind: "blocks" };

/** What it answers. `longestMs`: for how long the event loop served nobody, since it was asked last. */
export type PlaneAnswer =
  | { readonly kind: "serving"; readonly agentPort: number; readonly metricsPort: number }
  | { readonly kind: "blocks"; readonly longestMs: number };

const RESOLUTION_MS = 10;

const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delays.enable();
const say = (answer: PlaneAnswer): void => void process.send?.(answer);
const beyondTimer = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);

// Nobody asks any more.
process.once("disconnect", () => process.exit(0));
process.on("message", (request: PlaneRequest) => {
  if (request.kind === "start") {
    void startControlPlane(controlPlaneSchema.parse(request.config), silentLogger).then(({ agentAddresses, metricsPort }) => {
      const [{ port } = { port: 0 }] = agentAddresses as readonly { readonly port: number }[];
      say({ kind: "serving", agentPort: port, metricsPort });
    });
  } else {
    say({ kind: "blocks", longestMs: beyondTimer(delays.max) });
    delays.reset();
  }
});
