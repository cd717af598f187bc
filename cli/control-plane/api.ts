import { stringify } from "yaml";
import { kinds, kindNamed } from "../../api/kinds.ts";
import { parseDocuments } from "../../api/document.ts";
import { type AnyResource, type Kind, resourceKey } from "../../api/resource.ts";
import { formatPlace } from "../../base/issue.ts";
import { formatLocality } from "../../model/workload.ts";
import type { Catalog } from "../../discovery/catalog/catalog.ts";
import { applyDocuments, removeStored } from "../../discovery/config/store.ts";
import type { ControlPlaneApi, EndpointView, HostView, RegistryView, ResourceWord, ServiceView } from "../../discovery/http/api.ts";
import type { Publisher } from "../../discovery/registry/consul/publish/publisher.ts";
import type { HostRecord } from "../../discovery/registry/agents/host-record.ts";
import { TYPE_URLS } from "../../xds/type-urls.ts";
import { toEnvoyJson } from "../../proto/json.ts";
import { followFirstContent } from "./first-content.ts";
import { findHost } from "./host-lookup.ts";
import type { ApiParts } from "./parts.ts";
import { viewProxies } from "./proxy-view.ts";
import { viewRegistry } from "./registry-view.ts";
import { serviceMeant, viewDescription } from "./service-description.ts";

const TYPE_OF_WORD: Readonly<Record<ResourceWord, string>> = {
  listeners: TYPE_URLS.listener,
  routes: TYPE_URLS.virtualHost,
  clusters: TYPE_URLS.cluster,
  endpoints: TYPE_URLS.clusterLoadAssignment,
  secrets: TYPE_URLS.secret,
};

/** Answers the API from the running parts; every answer is as they are at that moment. */
export function createApi(parts: ApiParts): ControlPlaneApi {
  const { written, store, authority, grants, catalog, registries, publishers, hosts, push } = parts;
  const missingContent = followFirstContent(registries, catalog);
  const hostMeant = async (word: string): Promise<string | undefined> => {
    const enrolled = await authority.hosts();
    // What it called itself when it joined, until it reports: else a neighbour could take the name of a host that is silent.
    return findHost(word, enrolled.map(({ hostId, reportedName, revoked }) => ({ hostId, name: hosts.hosts.get(hostId)?.report.hostName ?? reportedName, isRevoked: revoked !== undefined })));
  };
  return {
    services: () => [...catalog.services.entries().keys()].sort().flatMap((key) => viewService(catalog, key) ?? []),
    endpoints: (word) => viewEndpoints(catalog, word),
    describeService: (word) => viewDescription(parts, word),
    hosts: async () => {
      const identities = new Map((await authority.hosts()).map((host) => [host.hostId, host.identities]));
      return [...hosts.hosts.entries().values()].map((host) => viewHost(host, parts, identities.get(host.hostId) ?? []));
    },
    config: () =>
      [...written.statuses.entries().values()].map(({ kind, namespace, name, origin, state, position, issues }) => ({
        kind,
        namespace,
        name,
        origin,
        state,
        position: formatPlace(position),
        issues,
      })),
    configYaml(kind, namespace, name) {
      const resource = written.resources.get(`${kindNamed(kind)?.kind ?? kind}/${namespace}/${name}`);
      return resource === undefined ? undefined : toYaml(resource);
    },
    registries: () => registries.map((registry) => ({ ...viewRegistry(registry, catalog), ...viewPublication(publishers.get(registry.name)) })),
    proxies: () => viewProxies(parts),
    async proxyResources(word, what) {
      const hostId = await hostMeant(word);
      if (hostId === undefined || hosts.hosts.get(hostId) === undefined) return undefined;
      const typeUrl = TYPE_OF_WORD[what];
      return [push.setOf(hostId), push.shared].flatMap((set) => [...set.list(typeUrl)].map(({ bytes }) => toEnvoyJson(typeUrl, bytes)));
    },
    async apply(yaml, file) {
      const { stored, resources, issues } = await applyDocuments(store, parseDocuments(yaml, file, "store"));
      return { stored, issues, resources: resources.map(({ kind, metadata }) => ({ kind, namespace: metadata.namespace, name: metadata.name })) };
    },
    remove(kind, namespace, name) {
      const known = kindNamed(kind)?.kind ?? kinds.find((definition) => definition.kind === kind)?.kind;
      return known === undefined ? Promise.resolve(false) : removeStored(store, keyOf(known, namespace, name));
    },
    async createToken({ groups, ttlSeconds, addressRanges }) {
      const created = await authority.createToken({
        groups: [...groups],
        ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
        ...(addressRanges === undefined ? {} : { addressRanges: [...addressRanges] }),
      });
      return { token: created.token.revealText(), expiresAt: new Date(created.expiresAtMs).toISOString() };
    },
    async revokeHost(word) {
      const hostId = await hostMeant(word);
      if (hostId !== undefined) await authority.revokeHost(hostId);
      return hostId;
    },
    journal: (last) => authority.journal(last),
    openTasks: () => [
      ...missingContent(),
      ...grants.openTasks(),
    ],
  };
}

function keyOf(kind: Kind, namespace: string, name: string): string {
  return resourceKey({ kind, metadata: { namespace, name } });
}

function toYaml({ apiVersion, kind, metadata, spec }: AnyResource): string {
  return stringify({ apiVersion, kind, metadata, spec });
}

function viewPublication(publisher: Publisher | undefined): Pick<RegistryView, "published"> {
  if (publisher === undefined) return {};
  const { services, instances, pending, lastError, notes } = publisher.status();
  return {
    published: {
      services,
      instances,
      pending,
      error: lastError?.message ?? "",
      hint: lastError?.hint ?? "",
      failingSince: lastError === undefined ? "" : new Date(lastError.since).toISOString(),
      notes,
    },
  };
}

function viewService(catalog: Catalog, key: string): ServiceView | undefined {
  const service = catalog.services.get(key);
  if (service === undefined) return undefined;
  const endpoints = catalog.endpoints.get(key) ?? [];
  const { namespace, name, hostname, aliases, vips, source } = service;
  const { pending, notes } = catalog.findings.get(key) ?? { pending: [], notes: [] };
  return {
    namespace,
    name,
    hostname,
    aliases,
    ports: service.ports.map((port) => ({ name: port.name, number: port.number, protocol: port.protocol })),
    vips,
    registry: source.registry,
    registries: [...new Set(catalog.sourcesOf(key).map(({ registry }) => registry))],
    endpoints: { healthy: endpoints.filter(({ health }) => health === "healthy" || health === "unknown").length, total: endpoints.length },
    notes: [...pending.map((other) => `${other.object} of ${other.registry} has the same name: it gets no traffic unless a sameness rule joins it`), ...notes],
  };
}

/** Undefined for a service that nobody registered. */
function viewEndpoints(catalog: Catalog, word: string | undefined): EndpointView[] | undefined {
  const wanted = word === undefined ? undefined : serviceMeant(catalog, word);
  if (word !== undefined && (wanted === undefined || (!catalog.services.entries().has(wanted) && catalog.describe(wanted) === undefined))) return undefined;
  return [...catalog.services.entries().keys()]
    .filter((key) => wanted === undefined || key === wanted)
    .flatMap((key) => {
      const details = catalog.healthDetails(key);
      return (catalog.endpoints.get(key) ?? []).map((endpoint) => ({
        service: key,
        servicePort: endpoint.servicePort,
        address: endpoint.address,
        additionalAddresses: endpoint.additionalAddresses ?? [],
        port: endpoint.port,
        workload: endpoint.workloadName,
        health: endpoint.health,
        detail: details.get(endpoint.workload) ?? "",
        meshed: endpoint.meshed,
        identity: endpoint.identity ?? "",
        locality: formatLocality(endpoint.locality),
        zoneHints: endpoint.zoneHints ?? [],
        nodeHints: endpoint.nodeHints ?? [],
        registry: endpoint.source.registry,
      }));
    });
}

function viewHost(
  host: HostRecord,
  { catalog, push, port }: Pick<ApiParts, "catalog" | "push" | "port">,
  identities: readonly { readonly group: string; readonly spiffeId: string }[],
): HostView {
  const { report } = host;
  const contested = (push.proxyIr(host.hostId)?.contested ?? []).map(({ workload, address, port, owner }) => ({
    workload,
    note: `it does not get port ${port}${address === "" ? "" : ` of ${address}`}: ${owner} has it`,
  }));
  const reported = new Map(report.workloads.map((workload) => [workload.name, workload]));
  return {
    id: host.hostId,
    name: report.hostName,
    state: host.state,
    addresses: report.facts.addresses,
    workloads: host.workloads.map(({ name, group, key }) => ({
      name,
      group,
      identity: identities.find((identity) => identity.group === group)?.spiffeId ?? "",
      health: catalog.workloads.get(key)?.health ?? reported.get(name)?.health ?? "unknown",
      detail: [catalog.workloads.get(key)?.healthDetail ?? "", ...contested.filter(({ workload }) => workload === name).map(({ note }) => note)]
        .filter((note) => note !== "")
        .join("; "),
    })),
    agentVersion: report.agentVersion,
    envoyVersion: report.envoyVersion,
    facts: {
      os: report.facts.os,
      kernel: report.facts.kernel,
      architecture: report.facts.architecture,
      cpus: report.facts.cpus,
      memoryBytes: report.facts.memoryBytes,
      capture: report.facts.capture,
    },
    issues: [
      ...host.refusals.map(({ workload, reason }) => `workload ${workload} is not taken: ${reason}`),
      ...port.turnedAway(host.hostId).map(({ address, liveAddress, sinceMs }) => `MESH_HOST_TWICE: a second agent of it, at ${address}, is quarantined since ${new Date(sinceMs).toISOString()}; the first one, at ${liveAddress}, lives. One is a copy: empty its state directory and enrol it with a token of its own`),
    ],
    lastSeen: host.state === "connected" ? "now" : new Date(host.since).toISOString(),
  };
}
