import type { Clock } from "../../base/clock.ts";
import type { Health } from "../../model/workload.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { waitingByRegistry } from "../catalog/intake.ts";
import type { Registry, RegistryCounters, RegistryStatus } from "../registry/registry.ts";
import type { MetricFamily, Sample } from "./metric-family.ts";

/** A registry at the time of a scrape. */
export interface ObservedRegistry {
  readonly status: RegistryStatus;
  /** Of the merged catalog, by health. */
  readonly endpoints: Readonly<Record<Health, number>>;
  /** Services of the catalog that it claims as well, and another one owns. */
  readonly pendingClaims: number;
  /** Services of which the catalog does not show yet what it tells. */
  readonly waiting: number;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

interface RegistriesObserved {
  readonly registries: readonly Pick<Registry, "status">[];
  readonly catalog: Pick<Catalog, "endpoints" | "findings" | "waiting">;
  readonly clock: Clock;
}

const NONE: Readonly<Record<Health, number>> = { healthy: 0, unhealthy: 0, draining: 0, unknown: 0 };

/** Looks at all registries, and once at everything in the catalog. */
export function observeRegistries({ registries, catalog, clock }: RegistriesObserved): ObservedRegistry[] {
  const endpoints = new Map<string, Record<Health, number>>();
  for (const served of catalog.endpoints.entries().values()) {
    for (const { source, health } of served) {
      const counts = endpoints.get(source.registry) ?? { ...NONE };
      counts[health] += 1;
      endpoints.set(source.registry, counts);
    }
  }
  const pending = new Map<string, number>();
  for (const { pending: claims } of catalog.findings.entries().values()) {
    for (const { registry } of claims) pending.set(registry, (pending.get(registry) ?? 0) + 1);
  }
  const waiting = waitingByRegistry(catalog.waiting());
  const now = clock.now();
  return registries.map((registry) => {
    const status = registry.status();
    return { status, endpoints: endpoints.get(status.name) ?? NONE, pendingClaims: pending.get(status.name) ?? 0, waiting: waiting.get(status.name) ?? 0, now };
  });
}

type RegistryFamily = MetricFamily<readonly ObservedRegistry[]>;

/** What there is to know about each registry, by its name and kind. */
export const REGISTRY_FAMILIES: readonly RegistryFamily[] = [
  one("ironmesh_registry_synced", "1 once its content was complete, or the last good content was loaded.", ({ status }) => Number(status.synced)),
  one("ironmesh_registry_failing", "1 while the last attempt to follow or save it failed.", ({ status }) => Number(status.lastError !== undefined)),
  one("ironmesh_registry_data_age_seconds", "Since its source last confirmed all of its content; absent before the first time, and where there is nothing to confirm.", ({ status }) => seconds(status.ageMs)),
  one("ironmesh_registry_services", "Services that it gives.", ({ status }) => status.services),
  one("ironmesh_registry_workloads", "Workloads that it gives.", ({ status }) => status.workloads),
  {
    ...family("ironmesh_registry_endpoints", "Endpoints in the merged catalog that come from it.", ["health"]),
    samples: flatten(({ endpoints }) => Object.entries(endpoints).map(([health, count]) => [{ health }, count])),
  },
  one("ironmesh_registry_pending_claims", "Services that it claims and another registry owns: they get no traffic from this one.", ({ pendingClaims }) => pendingClaims),
  one("ironmesh_registry_waiting_services", "Services that it tells otherwise than the merged catalog shows them: many that come at once take turns.", ({ waiting }) => waiting),
  counted("ironmesh_registry_watches", "Watches that are open, or questions that are asked over and over.", ({ watches }) => watches),
  { ...counted("ironmesh_registry_wakes_total", "Answers and events that its source sent.", ({ wakes }) => wakes), type: "counter" },
  { ...counted("ironmesh_registry_wakes_without_change_total", "Those of them that changed nothing of its content.", ({ wakesWithoutChange }) => wakesWithoutChange), type: "counter" },
  {
    ...family("ironmesh_registry_failures_total", "Attempts that failed, by the code of the error (docs/errors.md).", ["code"]),
    type: "counter",
    samples: flatten(({ status }) => Object.entries(status.counters?.failures ?? {}).map(([code, count]) => [{ code }, count])),
  },
  counted("ironmesh_registry_last_success_timestamp_seconds", "When its source last answered anything, in seconds since 1970.", ({ lastSuccessAt }) => seconds(lastSuccessAt)),
  one("ironmesh_registry_watch_lag_seconds", "From the last change at its source until it was in the catalog, where the source tells when it was (Kubernetes: last-change-trigger-time of slices); else the age of the data.", ({ status }) =>
    seconds(status.counters?.lagMs ?? status.ageMs),
  ),
];

/** One sample for each registry that has the value. */
function one(name: string, help: string, value: (observed: ObservedRegistry) => number | undefined): RegistryFamily {
  return {
    ...family(name, help, []),
    samples: flatten((observed) => {
      const known = value(observed);
      return known === undefined ? [] : [[{}, known]];
    }),
  };
}

/** One sample for each registry that follows a source. */
function counted(name: string, help: string, value: (counters: RegistryCounters) => number | undefined): RegistryFamily {
  return one(name, help, ({ status: { counters } }) => (counters === undefined ? undefined : value(counters)));
}

function family(name: string, help: string, furtherLabels: readonly string[]): Omit<RegistryFamily, "samples"> {
  return { name, help, type: "gauge", labels: ["registry", "kind", ...furtherLabels] };
}

function flatten(samplesOf: (observed: ObservedRegistry) => readonly Sample[]): RegistryFamily["samples"] {
  return (all) => all.flatMap((observed) => samplesOf(observed).map(([labels, value]): Sample => [{ registry: observed.status.name, kind: observed.status.kind, ...labels }, value]));
}

function seconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1_000;
}
