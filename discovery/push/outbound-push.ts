import type { Change } from "../../base/collection.ts";
import type { ResourceKey } from "../../api/resource.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import { familyOf } from "../../model/address.ts";
import { namesMeaning } from "../../model/hostname.ts";
import { type Service, serviceKey, type ServiceKey } from "../../model/service.ts";
import type { ResourceSet } from "../../xds/resource-set.ts";
import { buildOutboundService } from "../ir/build-outbound.ts";
import type { MeshView } from "../ir/mesh-view.ts";
import type { OutboundServiceIr, OutboundShapeIr } from "../ir/outbound.ts";
import { sortedByKey } from "../translate/resource.ts";
import { translateService } from "../translate/service.ts";
import { type ConfigIndex, resourcesRead } from "./config-index.ts";
import { Derivation, type Recorder } from "./derivation.ts";
import { createEndpointPush } from "./endpoint-push.ts";
import type { AddressedInputs } from "./inputs.ts";
import { LeavingIdentities } from "./leaving-identities.ts";
import { createNamePush } from "./name-push.ts";
import { namesFollowEndpoints } from "./name-records.ts";
import { OutboundShape } from "./outbound-shape.ts";
import { OwnedResources } from "./owned-resources.ts";

const dependency = {
  host: (host: string): string => `host:${host}`,
  service: (key: ServiceKey): string => `service:${key}`,
  domains: (key: ServiceKey): string => `domains:${key}`,
  identities: (key: ServiceKey): string => `identities:${key}`,
  dnsEndpoints: (key: ServiceKey): string => `dns-endpoints:${key}`,
  trustBundles: "trust-bundles",
} as const;

/**
 * Keeps the resources that every proxy shares up to date: for each service its
 * clusters, virtual hosts and validation context, and, on paths of their own,
 * its endpoints and its names.
 */
export class OutboundPush {
  readonly #inputs: AddressedInputs;
  readonly #config: ConfigIndex;
  readonly #services: Derivation<OutboundServiceIr>;
  readonly #endpoints: ReturnType<typeof createEndpointPush>;
  readonly #shape = new OutboundShape();
  #shapeChanged = false;
  #builtShape: OutboundShapeIr | undefined;
  readonly #owned: OwnedResources;
  readonly #leaving: LeavingIdentities;
  readonly #names: ReturnType<typeof createNamePush>;

  /** @param onStale told when something is to be built anew that nothing else told of */
  constructor(inputs: AddressedInputs, config: ConfigIndex, shared: ResourceSet, onStale: () => void) {
    this.#inputs = inputs;
    this.#leaving = new LeavingIdentities(inputs.clock, (key) => {
      this.#services.invalidate(dependency.identities(key));
      onStale();
    });
    this.#config = config;
    this.#owned = new OwnedResources(shared);
    this.#services = new Derivation((key, record) => this.#deriveService(key, record));
    this.#names = createNamePush(inputs, this.#owned);
    // Whatever changes the rule makes the service stale, and that its endpoints.
    this.#endpoints = createEndpointPush(inputs, this.#owned, (service) => config.reader(() => {}).destinationRule(this.#namesOf(service), service.namespace));
  }

  /** Takes in what changed; nothing is built before `build`. */
  touchServices(changes: readonly Change<Service>[]): void {
    for (const { key } of changes) {
      this.#services.request(key);
      this.#endpoints.request(key);
      this.#services.invalidate(dependency.service(key));
    }
  }

  touchEndpoints(changes: readonly Change<readonly Endpoint[]>[]): void {
    for (const { key, before, after } of changes) {
      this.#endpoints.touch(key);
      if (identitiesOf(before).join() !== identitiesOf(after).join()) {
        this.#leaving.change(key, before ?? [], after ?? []);
        this.#services.invalidate(dependency.identities(key));
      }
      this.#services.invalidate(dependency.dnsEndpoints(key));
      const service = this.#inputs.services.get(key);
      if (service !== undefined && namesFollowEndpoints(service, this.#inputs.settings.meshDomain)) this.#names.touch(key);
    }
  }

  touchNames(changed: { readonly hosts: ReadonlySet<string>; readonly services: ReadonlySet<ServiceKey> }): void {
    for (const host of changed.hosts) this.#services.invalidate(dependency.host(host));
    for (const key of changed.services) this.#names.request(key);
    for (const key of changed.services) this.#services.invalidate(dependency.domains(key));
  }

  touchConfig(dependencies: ReadonlySet<string>): void {
    for (const changed of dependencies) this.#services.invalidate(changed);
  }

  touchTrustBundles(): void {
    this.#services.invalidate(dependency.trustBundles);
  }

  isStale(): boolean {
    return this.#services.isStale() || this.#names.isStale() || this.#endpoints.isStale();
  }

  /** Builds what is stale, one service at a step. Nothing of it is in the shared set before `commit`. */
  *build(): Generator<void, void> {
    for (const [key, ir] of this.#services.flush()) {
      if (this.#shape.apply(key, ir)) {
        this.#shapeChanged = true;
        this.#builtShape = undefined;
      }
      this.#owned.replace(`service ${key}`, ir === undefined ? [] : translateService(ir));
      this.#names.request(key);
      // Subsets decide which clusters there are endpoints for.
      this.#endpoints.request(key);
      yield;
    }
    yield* this.#names.build();
    yield* this.#endpoints.build();
  }

  /** True where listeners must change since this was asked last. */
  takeShapeChange(): boolean {
    const hasChanged = this.#shapeChanged;
    this.#shapeChanged = false;
    return hasChanged;
  }

  /** Writes what was built to the shared set, as one transaction. */
  commit(): void {
    this.#owned.commit();
    this.#endpoints.committed();
    this.#names.committed();
    this.writeAhead();
  }

  /** Writes what became of endpoints, while the rest is built; where they serve before where they are looked up. */
  writeAhead(): void {
    this.#endpoints.writeAhead();
    this.#names.writeAhead();
  }

  /** The same object until it changes. */
  shape(): OutboundShapeIr {
    const { vipRanges, unknownDestinations } = this.#inputs.settings;
    this.#builtShape ??= this.#shape.build({ vipRanges, unknownDestinations });
    return this.#builtShape;
  }

  ir(key: ServiceKey): OutboundServiceIr | undefined {
    return this.#services.get(key);
  }

  /** The configuration resources that a generated one was made from. */
  causesOf(typeUrl: string, name: string): ResourceKey[] {
    const owner = this.#owned.ownerOf(typeUrl, name);
    if (owner === undefined) return [];
    return this.causesOfService(owner.slice(owner.indexOf(" ") + 1));
  }

  causesOfService(key: ServiceKey): ResourceKey[] {
    return resourcesRead(this.#services.readsOf(key));
  }

  close(): void {
    this.#leaving.close();
  }

  #deriveService(key: ServiceKey, record: Recorder): OutboundServiceIr | undefined {
    const service = this.#inputs.services.get(key);
    return service === undefined ? undefined : buildOutboundService(service, this.#view(record));
  }

  /** Its hostname, and all others that it owns; addresses aside, for which no resource speaks. */
  #namesOf(service: Service): string[] {
    const owned = this.#inputs.names.domains(serviceKey(service), 0).filter((name) => name !== service.hostname && familyOf(name) === undefined);
    return [service.hostname, ...owned];
  }

  #view(record: Recorder): MeshView {
    const { services, endpoints, names, trustBundles, settings } = this.#inputs;
    const config = this.#config.reader(record);
    const leaving = this.#leaving;
    const keyOf = (host: string): ServiceKey | undefined => {
      // Also what has no owner was read: a better name that comes changes the answer.
      for (const name of namesMeaning(host)) {
        record(dependency.host(name));
        const owner = names.ownerOf(name);
        if (owner !== undefined) return owner;
      }
      return undefined;
    };
    const find = (host: string): Service | undefined => {
      const key = keyOf(host);
      if (key === undefined) return undefined;
      record(dependency.service(key));
      return services.get(key);
    };
    /** Who is meant by a host, with every name that resources may have been written for. */
    const named = (host: string): readonly [names: readonly string[], namespace: string] => {
      const service = find(host);
      if (service === undefined) return [[host], ""];
      record(dependency.domains(serviceKey(service)));
      return [this.#namesOf(service), service.namespace];
    };
    return {
      meshDomain: settings.meshDomain,
      vipRanges: settings.vipRanges,
      service: find,
      virtualService: (host) => config.virtualService(...named(host)),
      destinationRule: (host) => config.destinationRule(...named(host)),
      domains(host, port) {
        const key = keyOf(host);
        if (key === undefined) return [];
        record(dependency.domains(key));
        return names.domains(key, port);
      },
      identities(host) {
        const key = keyOf(host);
        if (key === undefined) return [];
        record(dependency.identities(key));
        const declared = services.get(key)?.subjectAltNames ?? [];
        return [...new Set(declared.length > 0 ? declared : [...identitiesOf(endpoints.get(key)), ...leaving.of(key)])].sort();
      },
      dnsEndpoints(host) {
        const key = keyOf(host);
        if (key === undefined) return [];
        record(dependency.dnsEndpoints(key));
        return endpoints.get(key) ?? [];
      },
      trustBundles() {
        record(dependency.trustBundles);
        return sortedByKey(Object.fromEntries(trustBundles.entries()));
      },
    };
  }
}

function identitiesOf(endpoints: readonly Endpoint[] | undefined): string[] {
  const identities = new Set((endpoints ?? []).flatMap((endpoint) => (endpoint.meshed ? (endpoint.identity ?? []) : [])));
  return [...identities].sort();
}
