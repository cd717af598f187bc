import { join } from "node:path";

import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";
import type { WorkloadHealth } from "./health.ts";
import { keepWritten } from "./retried-write.ts";
import { readStateFile, writeStateFile } from "./state-file.ts";

/** A workload's last verdict, and the probe (as the control plane wrote it) that gave it. */
export interface HealthVerdict {
  readonly probe: string;
  readonly health: WorkloadHealth;
}

/** The last verdicts, by workload: what the next agent starts from, so that its own restart changes nobody's health. */
export interface HealthRecord extends Closable {
  /** As the agent before left them. */
  readonly earlier: ReadonlyMap<string, HealthVerdict>;
  set(workload: string, verdict: HealthVerdict): void;
  close(): Promise<void>;
}

/** @param runDir gone after a reboot, as the workloads are */
export async function openHealthRecord(runDir: string, clock: Clock, logger: Logger): Promise<HealthRecord> {
  const path = join(runDir, "health.json");
  const stored = await readStateFile(path, (content) => content as Readonly<Record<string, HealthVerdict>>, logger);
  const earlier = new Map(Object.entries(stored ?? {}));
  const verdicts = new Map(earlier);
  const file = keepWritten({ what: "the health of the workloads", write: () => writeStateFile(path, Object.fromEntries(verdicts)), clock, logger });
  return {
    earlier,
    set(workload, verdict) {
      verdicts.set(workload, verdict);
      void file.request();
    },
    close: () => file.close(),
  };
}
