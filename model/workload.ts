import type { Source } from "./source.ts";

/** A registry's own unique id of an instance, prefixed with the registry's name. */
export type WorkloadKey = string;

/** What is known of an instance's health. A stale source says `unknown`. */
export type Health = "healthy" | "unhealthy" | "draining" | "unknown";

/** Region, zone and sub-zone, each possibly empty, as Istio and Envoy write them: `eu/eu-1/rack-7`. */
export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subZone: string;
}

/** One running instance of something, on a host or in a pod. */
export interface Workload {
  readonly key: WorkloadKey;
  readonly namespace: string;
  readonly name: string;
  /** The host that it runs on, where that host is enrolled. */
  readonly hostId?: string;
  /** `NAMESPACE/NAME` of its WorkloadGroup. */
  readonly group?: string;
  /** IP addresses, or one host name for a service that is resolved by DNS. */
  readonly addresses: readonly string[];
  /** Port name → number. */
  readonly ports: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly locality: Locality;
  /** Zones whose callers its source means it for, sorted. Absent: those of any. */
  readonly zoneHints?: readonly string[];
  /** Nodes whose callers its source means it for, sorted. Absent: those of any. */
  readonly nodeHints?: readonly string[];
  /** Empty: the mesh's own network, reachable directly. */
  readonly network: string;
  /** Relative share of traffic; at least 1. */
  readonly weight: number;
  readonly health: Health;
  /** Why it is not healthy, in the source's words. */
  readonly healthDetail?: string;
  /** Speaks mutual TLS through an Envoy of ours. */
  readonly meshed: boolean;
  readonly source: Source;
}

export const NO_LOCALITY: Locality = { region: "", zone: "", subZone: "" };

/** Reads `region/zone/subzone`; missing parts are empty. */
export function parseLocality(text: string | undefined): Locality {
  const [region = "", zone = "", subZone = ""] = (text ?? "").split("/");
  return { region, zone, subZone };
}

export function formatLocality(locality: Locality): string {
  return [locality.region, locality.zone, locality.subZone].join("/").replace(/\/+$/, "");
}

/** The number of a port that an instance itself has by this name: people name ports, and may call one `constructor`. */
export function portNamed({ ports }: Pick<Workload, "ports">, name: string): number | undefined {
  return Object.hasOwn(ports, name) ? ports[name] : undefined;
}

/** True where every label of the selector is one of `labels`. An empty selector selects everything. */
export function selects(
  selector: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}
