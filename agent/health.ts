import type { Clock } from "../base/clock.ts";
import type { Closable } from "../base/task-group.ts";
import type { Probe } from "./probe.ts";

/** What is known of a workload; `unknown` until a first verdict. */
export interface WorkloadHealth {
  readonly state: "unknown" | "healthy" | "unhealthy";
  /** Why it is not healthy, in the probe's words. */
  readonly detail: string;
}

export interface HealthCheckOptions {
  readonly probe: Probe;
  /** Runs it once: gives the reason of a failure, or undefined. */
  readonly run: () => Promise<string | undefined>;
  readonly onChange: (health: WorkloadHealth) => void;
  /** What an earlier check of the same probe said last; it holds until this one has a verdict. */
  readonly initial?: WorkloadHealth;
  readonly clock: Clock;
}

/** Checks one workload until closed. */
export interface HealthCheck extends Closable {
  health(): WorkloadHealth;
}

/** Thresholds as Kubernetes has them: so many in a row turn the state. The first failure is none before the threshold, the first success is one. */
export function startHealthCheck(options: HealthCheckOptions): HealthCheck {
  const { probe, run, onChange, clock } = options;
  let health: WorkloadHealth = options.initial ?? { state: "unknown", detail: "" };
  let successes = 0;
  let failures = 0;
  let isClosed = false;
  let cancel = clock.after(probe.initialDelaySeconds * 1_000, () => void check());

  const enter = (next: WorkloadHealth): void => {
    const isNews = next.state !== health.state || next.detail !== health.detail;
    health = next;
    if (isNews) onChange(next);
  };
  const check = async (): Promise<void> => {
    const startedAtMs = clock.elapsed();
    const reason = await run().catch((failure: unknown) => String(failure));
    if (isClosed) return;
    if (reason === undefined) {
      successes += 1;
      failures = 0;
      if (successes >= probe.successThreshold) enter({ state: "healthy", detail: "" });
    } else {
      failures += 1;
      successes = 0;
      if (failures >= probe.failureThreshold) enter({ state: "unhealthy", detail: reason });
    }
    const tookMs = clock.elapsed() - startedAtMs;
    cancel = clock.after(Math.max(10, probe.periodSeconds * 1_000 - tookMs), () => void check());
  };
  return {
    health: () => health,
    close() {
      isClosed = true;
      cancel();
    },
  };
}
