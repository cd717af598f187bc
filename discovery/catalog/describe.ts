import type { ServicePort } from "../../model/port.ts";
import { type Service, serviceKey, type ServiceKey } from "../../model/service.ts";
import type { Source } from "../../model/source.ts";
import { formatLocality, type Health } from "../../model/workload.ts";
import type { Claim } from "./claims.ts";
import type { EndpointVerdict } from "./join-endpoints.ts";
import type { JoinedService } from "./join-services.ts";
import type { LostName } from "./names.ts";

/** Everything that the catalog knows about why a service is as it is. */
export interface ServiceDescription {
  readonly key: ServiceKey;
  readonly hostname: string;
  /** False where another service has its hostname: then it is no service, and nobody reaches it. */
  readonly isInForce: boolean;
  readonly resolution: JoinedService["service"]["resolution"];
  readonly vips: readonly string[];
  /** Every name that it is reached by, its hostname first. */
  readonly names: readonly string[];
  readonly lostNames: readonly LostName[];
  /** Who it is made of, the one that has the say first. */
  readonly members: readonly MemberDescription[];
  /** Who would be it too, and gets no traffic until a rule says so. */
  readonly pending: readonly ClaimDescription[];
  /** Services of the same name elsewhere: others, until a rule says that they are this one. */
  readonly namesakes: readonly ClaimDescription[];
  readonly ports: readonly PortDescription[];
  /** Every instance at every port, serving or not, by port, then in order of precedence. */
  readonly endpoints: readonly EndpointDescription[];
  readonly notes: readonly string[];
}

export interface ClaimDescription {
  readonly source: Source;
  /** What it is, or would be, without a rule. */
  readonly ownKey: ServiceKey;
}

export interface MemberDescription extends ClaimDescription {
  /** Which rule of `sameness` makes it part of the service, from 0; absent where none is needed. */
  readonly rule?: number;
  /** Why none of its endpoints serves. */
  readonly reason?: string;
}

export interface PortDescription extends ServicePort {
  /** Whose word it is. */
  readonly source: Source;
}

export interface EndpointDescription {
  readonly servicePort: number;
  readonly addresses: readonly string[];
  /** Of the instance; absent where it has none for the service's port. */
  readonly port?: number;
  readonly workload: string;
  readonly hostId?: string | undefined;
  readonly source: Source;
  readonly locality: string;
  /** Zones whose callers its source means it for; empty: those of any. */
  readonly zoneHints: readonly string[];
  /** Nodes whose callers it is meant for; empty: those of any. */
  readonly nodeHints: readonly string[];
  readonly network: string;
  readonly weight: number;
  readonly health: Health;
  readonly meshed: boolean;
  readonly identity: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly getsTraffic: boolean;
  /** Why it does, or does not. */
  readonly reason: string;
}

/** What a description is made of. */
export interface DescribedParts {
  readonly joined: JoinedService;
  readonly pending: readonly Claim[];
  readonly verdicts: readonly EndpointVerdict[];
  readonly isInForce: boolean;
  readonly vips: readonly string[];
  readonly names: readonly string[];
  readonly lostNames: readonly LostName[];
  readonly namesakes: readonly Service[];
  readonly notes: readonly string[];
}

export function describeService(key: ServiceKey, parts: DescribedParts): ServiceDescription {
  const { joined, pending, verdicts, names, namesakes, ...rest } = parts;
  const { service, members, portSources } = joined;
  return {
    key,
    hostname: service.hostname,
    resolution: service.resolution,
    ...rest,
    names: [service.hostname, ...names.filter((name) => name !== service.hostname)],
    members: members.map(({ claim, reason }) => ({
      source: claim.service.source,
      ownKey: serviceKey(claim.service),
      ...(claim.place === undefined ? {} : { rule: claim.place.rule }),
      ...(reason === undefined ? {} : { reason }),
    })),
    pending: pending.map((claim) => ({ source: claim.service.source, ownKey: serviceKey(claim.service) })),
    namesakes: namesakes.map((other) => ({ source: other.source, ownKey: serviceKey(other) })),
    ports: service.ports.map((port) => ({ ...port, source: portSources.get(port.number) ?? service.source })),
    endpoints: verdicts
      .toSorted((left, right) => left.servicePort - right.servicePort)
      .map(describeEndpoint)
      .map((endpoint) => (parts.isInForce ? endpoint : { ...endpoint, getsTraffic: false, reason: "the service does not have its hostname" })),
  };
}

function describeEndpoint(verdict: EndpointVerdict): EndpointDescription {
  const { workload, servicePort, endpoint } = verdict;
  return {
    servicePort,
    addresses: workload.addresses,
    ...(endpoint === undefined ? {} : { port: endpoint.port }),
    workload: workload.name,
    ...(workload.hostId === undefined ? {} : { hostId: workload.hostId }),
    source: workload.source,
    locality: formatLocality(workload.locality),
    zoneHints: workload.zoneHints ?? [],
    nodeHints: workload.nodeHints ?? [],
    network: workload.network,
    weight: workload.weight,
    health: endpoint?.health ?? workload.health,
    meshed: workload.meshed,
    identity: endpoint?.identity ?? "",
    labels: workload.labels,
    ...judgeTraffic(verdict),
  };
}

/** What a verdict means for traffic, in words. */
function judgeTraffic({ endpoint, reason, workload }: EndpointVerdict): { readonly getsTraffic: boolean; readonly reason: string } {
  if (endpoint === undefined) return { getsTraffic: false, reason: reason ?? "" };
  const detail = workload.healthDetail === undefined || workload.healthDetail === "" ? "" : `: ${workload.healthDetail}`;
  // Another registry's word, where its own says that it is well.
  const told = endpoint.health === workload.health ? detail : ": another registry says so of this place";
  switch (endpoint.health) {
    case "healthy":
      return { getsTraffic: true, reason: endpoint.health === workload.health ? `healthy${detail}` : "healthy" };
    case "unknown":
      return { getsTraffic: true, reason: `nobody says that it is not healthy${detail}` };
    case "draining":
      return { getsTraffic: false, reason: `it takes no new requests${told}` };
    case "unhealthy":
      return { getsTraffic: false, reason: `unhealthy${told}` };
  }
}
