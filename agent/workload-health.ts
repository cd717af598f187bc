import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";
import type { HostConfig } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { startHealthCheck } from "./health.ts";
import type { HealthRecord } from "./health-record.ts";
import type { HealthCheck, WorkloadHealth } from "./health.ts";
import { parseProbe } from "./probe.ts";
import { runProbe } from "./run-probe.ts";
import type { ProbeContext } from "./run-probe.ts";

export interface WorkloadHealthOptions {
  /** By the workload's name. */
  readonly contextOf: (workload: string) => ProbeContext;
  readonly onChange: () => void;
  readonly record: HealthRecord;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The health of all workloads of the host, by the probes that their groups declare. */
export interface WorkloadHealthChecks extends Closable {
  /** Starts, restarts and ends checks as the control plane declares them. */
  setProbes(config: HostConfig): void;
  /** Undefined while it is not known whether the workload has a probe. */
  get(workload: string): WorkloadHealth | undefined;
}

export function checkWorkloadHealth(options: WorkloadHealthOptions): WorkloadHealthChecks {
  const { contextOf, onChange, record, clock, logger } = options;
  const checks = new Map<string, { readonly json: string; readonly check: HealthCheck | undefined; readonly fixed: WorkloadHealth }>();
  // Each holds until it is known which probe the workload has, and beyond where it is the same one.
  const earlier = new Map(record.earlier);
  const start = (name: string, json: string): void => {
    const parsed = json === "" ? undefined : parseProbe(json);
    if (parsed?.ok === false) logger.error({ workload: name, reason: parsed.error }, "the probe of this workload cannot be run");
    const verdict = earlier.get(name);
    earlier.delete(name);
    const check =
      parsed?.ok === true
        ? startHealthCheck({
            probe: parsed.value,
            run: () => runProbe(parsed.value, contextOf(name)),
            ...(verdict?.probe === json ? { initial: verdict.health } : {}),
            clock,
            onChange(health) {
              record.set(name, { probe: json, health });
              logger.info({ workload: name, ...health }, "the health of a workload changed");
              onChange();
            },
          })
        : undefined;
    const fixed: WorkloadHealth = parsed?.ok === false ? { state: "unknown", detail: `its probe cannot be run: ${parsed.error}` } : { state: "healthy", detail: "" };
    checks.set(name, { json, check, fixed });
  };
  return {
    setProbes(config) {
      const wanted = new Map(config.workloads.map(({ name, probe }) => [name, probe]));
      for (const [name, { json, check }] of checks) {
        if (wanted.get(name) === json) continue;
        void check?.close();
        checks.delete(name);
      }
      for (const [name, json] of wanted) if (!checks.has(name)) start(name, json);
    },
    get(workload) {
      const known = checks.get(workload);
      return known?.check?.health() ?? known?.fixed ?? earlier.get(workload)?.health;
    },
    close() {
      for (const { check } of checks.values()) void check?.close();
      checks.clear();
    },
  };
}
