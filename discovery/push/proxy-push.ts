import { isDeepStrictEqual } from "node:util";
import type { Change } from "../../base/collection.ts";
import type { ResourceKey } from "../../api/resource.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { Protocol } from "../../model/port.ts";
import { rootNamespacesOf } from "../../model/root-namespace.ts";
import type { Service } from "../../model/service.ts";
import type { Workload, WorkloadKey } from "../../model/workload.ts";
import { createResourceSet, type ResourceSet } from "../../xds/resource-set.ts";
import { buildInbound } from "../ir/build-inbound.ts";
import { settleInboundPlaces } from "../ir/inbound-places.ts";
import { CLIENT_VALIDATION_SECRET } from "../ir/names.ts";
import type { OutboundShapeIr } from "../ir/outbound.ts";
import type { HostIr, HostWorkloadIr, ProxyIr } from "../ir/proxy.ts";
import { translateInbound, translateOutbound } from "../translate/proxy.ts";
import { sortedByKey, type TranslatedResource } from "../translate/resource.ts";
import { type ConfigIndex, resourcesRead } from "./config-index.ts";
import { Derivation, type Recorder } from "./derivation.ts";
import { hostConfig } from "./host-config.ts";
import type { AddressedInputs, ProxyHost, ProxyHostWorkload } from "./inputs.ts";
import { OwnedResources } from "./owned-resources.ts";
import { ServedPorts } from "./served-ports.ts";

const dependency = {
  workload: (key: WorkloadKey): string => `workload:${key}`,
  serving: (key: WorkloadKey): string => `serving:${key}`,
  trustBundles: "trust-bundles",
} as const;

interface ProxySet {
  readonly set: ResourceSet;
  readonly owned: OwnedResources;
}

/** Keeps what is one host's own up to date: its listeners, inbound clusters and host configuration. */
export class ProxyPush {
  readonly #inputs: AddressedInputs;
  readonly #config: ConfigIndex;
  readonly #shape: () => OutboundShapeIr;
  readonly #hosts: Derivation<HostIr>;
  /** Whose outbound listeners are to be made anew. */
  readonly #reshaped = new Set<string>();
  /** By host. Held, so that other hosts have the same. */
  readonly #outbound = new Map<string, readonly TranslatedResource[]>();
  readonly #sets = new Map<string, ProxySet>();
  readonly #built = new Set<OwnedResources>();
  readonly #served = new ServedPorts();

  constructor(inputs: AddressedInputs, config: ConfigIndex, shape: () => OutboundShapeIr) {
    this.#inputs = inputs;
    this.#config = config;
    this.#shape = shape;
    this.#hosts = new Derivation((hostId, record) => this.#derive(hostId, record));
  }

  /** A host's own resources; made empty at the first call, so that a stream can be served before its host reported. */
  setOf(hostId: string): ResourceSet {
    return this.#proxySet(hostId).set;
  }

  ir(hostId: string): ProxyIr | undefined {
    const host = this.#hosts.get(hostId);
    return host === undefined ? undefined : this.#shaped(host);
  }

  causesOf(hostId: string): ResourceKey[] {
    return resourcesRead(this.#hosts.readsOf(hostId));
  }

  touchHosts(changes: readonly Change<ProxyHost>[]): void {
    for (const { key } of changes) this.#hosts.request(key);
  }

  touchWorkloads(changes: readonly Change<Workload>[]): void {
    for (const { key } of changes) this.#hosts.invalidate(dependency.workload(key));
  }

  touchEndpoints(changes: readonly Change<readonly Endpoint[]>[]): void {
    for (const workload of this.#served.apply(changes)) this.#hosts.invalidate(dependency.serving(workload));
  }

  /** A service's ports decide the protocols at its workloads. */
  touchServices(changes: readonly Change<Service>[]): void {
    for (const { key, before, after } of changes) {
      if (isDeepStrictEqual(before?.ports, after?.ports)) continue;
      for (const { workload } of this.#inputs.endpoints.get(key) ?? []) this.#hosts.invalidate(dependency.serving(workload));
    }
  }

  touchConfig(dependencies: ReadonlySet<string>): void {
    for (const changed of dependencies) this.#hosts.invalidate(changed);
  }

  touchTrustBundles(): void {
    this.#hosts.invalidate(dependency.trustBundles);
  }

  touchShape(): void {
    for (const hostId of this.#hosts.values().keys()) this.#reshaped.add(hostId);
  }

  isStale(): boolean {
    return this.#hosts.isStale() || this.#reshaped.size > 0;
  }

  /** Builds what is stale, one host at a step. Nothing of it is in the hosts' own sets before `commit`. */
  *build(): Generator<void, void> {
    for (const [hostId, ir] of this.#hosts.flush()) {
      const host = this.#inputs.hosts.get(hostId);
      this.#replace("inbound", hostId, ir === undefined || host === undefined ? [] : [...translateInbound(ir), hostConfig(host, ir, this.#inputs.settings)]);
      this.#reshaped.add(hostId);
      yield;
    }
    for (const hostId of this.#reshaped) {
      this.#reshaped.delete(hostId);
      const ir = this.ir(hostId);
      const resources = ir === undefined ? [] : translateOutbound(ir);
      this.#replace("outbound", hostId, resources);
      if (ir === undefined) this.#outbound.delete(hostId);
      else this.#outbound.set(hostId, resources);
      yield;
    }
  }

  /** Writes what was built to the hosts' own sets. */
  commit(): void {
    for (const owned of this.#built) owned.commit();
    this.#built.clear();
  }

  #replace(part: "inbound" | "outbound", hostId: string, resources: readonly TranslatedResource[]): void {
    const { owned } = this.#proxySet(hostId);
    owned.replace(part, resources);
    this.#built.add(owned);
  }

  #shaped(host: HostIr): ProxyIr {
    const outbound = this.#shape();
    return { ...host, workloads: host.workloads.map((workload) => ({ ...workload, outbound })) };
  }

  #proxySet(hostId: string): ProxySet {
    const known = this.#sets.get(hostId);
    if (known !== undefined) return known;
    const set = createResourceSet();
    const made = { set, owned: new OwnedResources(set) };
    this.#sets.set(hostId, made);
    return made;
  }

  #derive(hostId: string, record: Recorder): HostIr | undefined {
    const host = this.#inputs.hosts.get(hostId);
    if (host === undefined) return undefined;
    record(dependency.trustBundles);
    const { workloads, contested } = settleInboundPlaces(host.workloads.flatMap((workload) => this.#deriveWorkload(workload, record) ?? []));
    return {
      hostId,
      inboundPort: host.inboundPort,
      workloads,
      clientValidation: {
        name: CLIENT_VALIDATION_SECRET,
        trustBundles: sortedByKey(Object.fromEntries(this.#inputs.trustBundles.entries())),
      },
      ...(contested.length === 0 ? {} : { contested }),
      accessLog: "json",
    };
  }

  /** Undefined for a workload that the catalog does not hold, such as one whose addresses were refused. */
  #deriveWorkload(host: ProxyHostWorkload, record: Recorder): HostWorkloadIr | undefined {
    record(dependency.workload(host.workload));
    record(dependency.serving(host.workload));
    const workload = this.#inputs.workloads.get(host.workload);
    if (workload === undefined) return undefined;
    const { roots, defaultMtls } = this.#inputs.settings;
    const config = this.#config.reader(record);
    const rootNamespaces = rootNamespacesOf(workload.namespace, roots);
    const namespaces = [workload.namespace, ...rootNamespaces];
    return {
      name: host.name,
      namespace: workload.namespace,
      identity: host.identity,
      outboundPort: host.outboundPort,
      inbound: buildInbound({
        workload,
        serviceProtocols: this.#serviceProtocols(workload.key),
        peerAuthentications: namespaces.flatMap((namespace) => config.peerAuthentications(namespace)),
        authorizationPolicies: namespaces.flatMap((namespace) => config.authorizationPolicies(namespace)),
        rootNamespaces,
        defaultMtls,
      }),
    };
  }

  #serviceProtocols(workload: WorkloadKey): Map<number, Protocol> {
    const protocols = new Map<number, Protocol>();
    for (const [key, served] of this.#served.of(workload)) {
      const ports = this.#inputs.services.get(key)?.ports ?? [];
      for (const { servicePort, port } of served) {
        const protocol = ports.find(({ number }) => number === servicePort)?.protocol;
        if (protocol !== undefined && !protocols.has(port)) protocols.set(port, protocol);
      }
    }
    return protocols;
  }
}
