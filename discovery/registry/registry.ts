import type { Collection } from "../../base/collection.ts";
import type { Closable } from "../../base/task-group.ts";
import type { Service } from "../../model/service.ts";
import type { Workload } from "../../model/workload.ts";

/**
 * Somewhere that services and their instances are registered. Every registry
 * gives the same normalized types; the catalog joins them and knows no other.
 *
 * Invariants: what is unreachable, denied or doubtful never empties a
 * collection (the last good content stays, and `status` says how old it is);
 * collections change synchronously, one batch per observed change (several for a
 * large one where services stand alone); nothing is watched before `start` or
 * after `close`.
 */
export interface Registry extends Closable {
  /** As configured, unique in a mesh: `static`, `hosts`, `consul`. */
  readonly name: string;
  /** Keyed by the registry's own unique id of a service. */
  readonly services: Collection<RegistryService>;
  /**
   * True where each service is told with its instances, and nothing that is told
   * beside it needs it: of many that come at once some may be shown before others.
   * Absent: what is told at once is shown at once.
   */
  readonly servicesStandAlone?: boolean;
  /** Instances that selectors may select, by workload key. */
  readonly workloads: Collection<Workload>;
  /** Instances that are still to come, as configured. */
  readonly templates: Collection<WorkloadTemplate>;
  status(): RegistryStatus;
  /** Begins to watch; what goes wrong shows in `status`, never as a rejection. */
  start(): void;
}

/** A service as one registry tells it, before the mesh decided who owns its names and addresses. */
export interface RegistryService extends Omit<Service, "vips" | "hostname"> {
  /** Who the hostname belongs to by right: `canonical` ones are the registry's own, `declared` ones somebody wrote down, `allowed` ones in a cluster that may. */
  readonly claim: "canonical" | "declared" | "allowed";
  readonly hostname: string;
  /** Virtual addresses that it brings along; the mesh allocates some where there are none. */
  readonly addresses: readonly string[];
  readonly backends: Backends;
  /** Endpoints without an identity may serve it beside meshed ones. */
  readonly allowsPlaintext: boolean;
  /** What a person should know: contradictions and how they were decided. Sorted. */
  readonly notes: readonly string[];
}

/** Which workloads serve a service. */
export type Backends =
  /**
   * Those of its namespace that carry all of these labels; none given: all of
   * them. Instances that belong to services of another registry are among them
   * only where that is named in `registries`.
   */
  | { readonly kind: "selector"; readonly labels: Readonly<Record<string, string>>; readonly registries?: readonly string[] }
  /** Exactly these, which belong to this service. Sorted by key. */
  | { readonly kind: "explicit"; readonly workloads: readonly Workload[] };

/** What every instance of a group is: the authority on labels, ports and identity. */
export interface WorkloadTemplate {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ports: Readonly<Record<string, number>>;
  readonly serviceAccount: string;
  /** `region/zone/subzone`; empty: the host's own. */
  readonly locality: string;
  readonly network: string;
  readonly weight: number;
}

/** How much a registry's content can be relied on now. */
export interface RegistryStatus {
  readonly name: string;
  readonly kind: "static" | "hosts" | "consul" | "kubernetes";
  /** True once the content was complete; it stays true while the last good content is served. */
  readonly synced: boolean;
  /** Time since the source last confirmed the content; undefined before the first time. */
  readonly ageMs?: number;
  /** The last failure, while it lasts. */
  readonly lastError?: RegistryFailure;
  readonly services: number;
  readonly workloads: number;
  /** Findings about the content that are nobody's failure. Sorted. */
  readonly notes: readonly string[];
  /** What following a source took until now; absent where nothing is followed. */
  readonly counters?: RegistryCounters;
}

/** What a registry did since it was started. */
export interface RegistryCounters {
  /** Watches and blocking questions that are followed now. */
  readonly watches: number;
  /** Answers and events that the source sent. */
  readonly wakes: number;
  /** Those of them that changed nothing of the registry's content. */
  readonly wakesWithoutChange: number;
  /** By `MESH_REGISTRY_…` code; each attempt that failed counts. */
  readonly failures: Readonly<Record<string, number>>;
  /** When the source last answered anything. Milliseconds since the epoch; undefined before. */
  readonly lastSuccessAt?: number | undefined;
  /** From the last change at the source until it was in the content, where the source tells when it was. */
  readonly lagMs?: number | undefined;
}

export interface RegistryFailure {
  /** `MESH_REGISTRY_…` */
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  /** Milliseconds since the epoch at which it was first seen. */
  readonly since: number;
}
