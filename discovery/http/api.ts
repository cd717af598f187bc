import type { Issue } from "../../base/issue.ts";
import type { Health } from "../../model/workload.ts";
import type { ServiceDescription } from "../catalog/describe.ts";

/** A service as `get services` shows it. */
export interface ServiceView {
  readonly namespace: string;
  readonly name: string;
  readonly hostname: string;
  readonly aliases: readonly string[];
  readonly ports: readonly { readonly name: string; readonly number: number; readonly protocol: string }[];
  readonly vips: readonly string[];
  /** The one that has the say. */
  readonly registry: string;
  /** All that it is joined of, that one first. */
  readonly registries: readonly string[];
  readonly endpoints: { readonly healthy: number; readonly total: number };
  /** Why something that was registered does not have the effect that one may expect. */
  readonly notes: readonly string[];
}

/** An endpoint as `get endpoints` shows it. */
export interface EndpointView {
  readonly service: string;
  readonly servicePort: number;
  readonly address: string;
  /** Tried in turn with the first. */
  readonly additionalAddresses: readonly string[];
  readonly port: number;
  readonly workload: string;
  readonly health: Health;
  /** Why it is not healthy; may be empty. */
  readonly detail: string;
  readonly meshed: boolean;
  readonly identity: string;
  readonly locality: string;
  /** Zones whose callers its registry means it for; empty: those of any. Nothing of the mesh goes by them yet. */
  readonly zoneHints: readonly string[];
  /** Nodes whose callers it is meant for; empty: those of any. No caller in the mesh is on one. */
  readonly nodeHints: readonly string[];
  readonly registry: string;
}

/** A host as `get hosts` shows it. */
export interface HostView {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly addresses: readonly string[];
  readonly workloads: readonly {
    readonly name: string;
    readonly group: string;
    readonly identity: string;
    readonly health: Health;
    readonly detail: string;
  }[];
  readonly agentVersion: string;
  readonly envoyVersion: string;
  readonly facts: Readonly<Record<string, string | number>>;
  /** What was not taken of the host's report, and why: a workload without a grant, an address outside of it. */
  readonly issues: readonly string[];
  /** ISO 8601; empty before the first report. */
  readonly lastSeen: string;
}

/** The authority's own account of what it did and refused. */
export interface JournalView {
  /** By time, the oldest first. */
  readonly entries: readonly {
    readonly writer: string;
    readonly sequence: number;
    readonly atMs: number;
    readonly type: string;
    readonly facts: Readonly<Record<string, string | number | readonly string[]>>;
  }[];
  /** What is wrong with the chain of entries; empty for a sound one. */
  readonly problems: readonly string[];
}

/** A resource that somebody wrote, and what became of it. */
export interface ConfigView {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly origin: string;
  /** `accepted`, `warning`, `rejected` (the last good one stays in force), `conflict`. */
  readonly state: string;
  readonly position: string;
  readonly issues: readonly Issue[];
}

export type SyncState = "SYNCED" | "STALE" | "REJECTED" | "NOT SENT";

/** What one proxy was sent and took, per type of resource. */
export interface ProxyView {
  readonly host: string;
  readonly hostName: string;
  readonly connected: boolean;
  readonly types: readonly {
    /** `listeners`, `clusters`, … */
    readonly type: string;
    readonly state: SyncState;
    readonly resources: number;
    /** Envoy's own words about the last rejection. */
    readonly error: string;
    /** The YAML that the rejected resources come from: `VirtualService/default/reviews`, and the file and line of each. */
    readonly causes: readonly { readonly resource: string; readonly position: string }[];
  }[];
}

export interface RegistryView {
  readonly name: string;
  readonly kind: string;
  readonly synced: boolean;
  readonly services: number;
  readonly workloads: number;
  /** Since the registry last confirmed its content; absent where it never did, or has nothing to confirm. */
  readonly ageSeconds?: number;
  readonly error: string;
  /** What to look at where there is an error; may be empty. */
  readonly hint: string;
  /** ISO 8601: when the error began; empty without one. */
  readonly failingSince: string;
  /** What a person should know about the content. */
  readonly notes: readonly string[];
  /** What of the mesh is registered there for others; absent where nothing is to be. */
  readonly published?: {
    readonly services: number;
    readonly instances: number;
    /** Instances that the registry does not hold yet as they are, or still holds. */
    readonly pending: number;
    readonly error: string;
    readonly hint: string;
    /** ISO 8601; empty without an error. */
    readonly failingSince: string;
    /** Why something is not published, or not of use. */
    readonly notes: readonly string[];
  };
}

/** A service as `describe service` explains it: what the catalog knows, the registries behind it as they are now, and the resources that speak for it. */
export interface ServiceDescriptionView extends ServiceDescription {
  readonly registries: readonly RegistryView[];
  /** `VirtualService/default/reviews`, and the file and line of each. */
  readonly configuration: readonly { readonly resource: string; readonly position: string }[];
}

/** Types of Envoy resources under the words that people use. */
export const RESOURCE_WORDS = ["listeners", "routes", "clusters", "endpoints", "secrets"] as const;
export type ResourceWord = (typeof RESOURCE_WORDS)[number];

export interface TokenRequest {
  /** `NAMESPACE/NAME` of WorkloadGroups that the host may run. */
  readonly groups: readonly string[];
  readonly ttlSeconds?: number | undefined;
  /** CIDRs that the host's addresses must lie in; empty for no limit. */
  readonly addressRanges?: readonly string[] | undefined;
}

/** What came of `apply`: nothing is stored unless every document is acceptable. */
export interface ApplyOutcome {
  readonly stored: boolean;
  readonly resources: readonly { readonly kind: string; readonly namespace: string; readonly name: string }[];
  readonly issues: readonly Issue[];
}

/**
 * Everything that the HTTP API can be asked. The composition root makes one of
 * the running parts; the API adds HTTP and nothing else.
 */
export interface ControlPlaneApi {
  services(): readonly ServiceView[];
  /** @param service as `describeService` takes it, undefined where that gives undefined; absent: those of all */
  endpoints(service?: string): readonly EndpointView[] | undefined;
  /**
   * Any name that the service is reached by, `NAMESPACE/NAME`, or a bare name that one alone has; undefined for an unknown one.
   *
   * @throws CodedError MESH_SERVICE_AMBIGUOUS
   */
  describeService(service: string): ServiceDescriptionView | undefined;
  hosts(): readonly HostView[] | Promise<readonly HostView[]>;
  config(): readonly ConfigView[];
  /** One resource as YAML; undefined where there is none. */
  configYaml(kind: string, namespace: string, name: string): string | undefined;
  registries(): readonly RegistryView[];
  proxies(): readonly ProxyView[];
  /** Envoy's own form (proto JSON), secrets redacted; undefined for an unknown host. Takes a host id, or a name that one host alone has. */
  proxyResources(host: string, word: ResourceWord): Promise<readonly unknown[] | undefined>;
  apply(yaml: string, file: string): Promise<ApplyOutcome>;
  /** False where the store holds no such resource. */
  remove(kind: string, namespace: string, name: string): Promise<boolean>;
  createToken(request: TokenRequest): Promise<{ readonly token: string; readonly expiresAt: string }>;
  /** Takes what `proxyResources` takes; gives the id of the host that was revoked, undefined where there is none. */
  revokeHost(host: string): Promise<string | undefined>;
  /** The last entries of each writer. */
  journal(last: number): Promise<JournalView>;
  /** Named tasks that are still open; empty means ready. */
  openTasks(): readonly string[];
}
