import type { SchedulePacing } from "./schedule.ts";
import type { WatchPacing } from "./watch.ts";

export type ConsulPacing = WatchPacing & SchedulePacing;

/** How a Consul is read where nobody says otherwise. Milliseconds. */
export const CONSUL_DEFAULTS = {
  /** Below Consul's own limit of 200 per address, which its other users share. */
  maxConnections: 128,
  dnsDomain: "consul",
  /** What the mesh wrote into Consul itself. */
  ignoredSources: ["ironmesh"],
  /** Consul's own servers. */
  ignoredServices: ["consul"],
  pacing: {
    // Below the minute after which whatever is between may give up; longer only where there are thousands.
    waitMs: 55_000,
    maxWaitMs: 300_000,
    intervalMs: 1_000,
    maxQuick: 32,
    // About a seventh of one of Consul's cores, and only after something was registered.
    sweepPerSecond: 500,
    slowPassMs: 300_000,
    // Agents register again within a minute (anti-entropy), or two in a cluster of thousands.
    resetHoldMs: 120_000,
    backoff: { baseMs: 500, maxMs: 30_000 },
  },
} as const;
