import type { Clock } from "../../base/clock.ts";
import type { Collection } from "../../base/collection.ts";
import type { AnyResource } from "../../api/resource.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { RootNamespace } from "../../model/root-namespace.ts";
import type { Service, ServiceKey } from "../../model/service.ts";
import type { Workload, WorkloadKey } from "../../model/workload.ts";
import type { MtlsMode } from "../ir/build-inbound.ts";
import type { OutboundShapeIr } from "../ir/outbound.ts";

/** All that configuration for proxies is made of. */
export interface PushInputs {
  /** By service key. */
  readonly services: Collection<Service>;
  /** By service key: those that are about to get their first virtual address. A new one is not translated before it has left. */
  readonly awaitingAddress: Collection<true>;
  /** By service key. */
  readonly endpoints: Collection<readonly Endpoint[]>;
  readonly workloads: Collection<Workload>;
  readonly names: NameTable;
  readonly config: Collection<AnyResource>;
  /** Enrolled hosts that reported, by host id. */
  readonly hosts: Collection<ProxyHost>;
  /** PEM by trust domain. */
  readonly trustBundles: Collection<string>;
  readonly settings: PushSettings;
  readonly clock: Clock;
}

/** The same as builders see it: a service is there once it is complete. */
export interface AddressedInputs extends Omit<PushInputs, "services" | "awaitingAddress"> {
  readonly services: Pick<Collection<Service>, "get" | "entries">;
}

/** Mesh-wide settings that shape what proxies are told. */
export interface PushSettings extends Pick<OutboundShapeIr, "vipRanges" | "unknownDestinations"> {
  readonly meshDomain: string;
  readonly trustDomain: string;
  readonly roots: readonly RootNamespace[];
  readonly defaultMtls: MtlsMode;
  /** How long changes gather before they are translated together. */
  readonly batchMs: number;
}

/** Who owns which name; of the catalog's making. */
export interface NameTable {
  /** The service that has exactly this name, canonical or alias, a wildcard as it is written. */
  ownerOf(name: string): ServiceKey | undefined;
  /** The domains that a service owns in the route table of a port, sorted. */
  domains(service: ServiceKey, port: number): readonly string[];
  /** Tells the hosts whose owner changed and the services whose domains did. */
  subscribe(listener: (changed: { readonly hosts: ReadonlySet<string>; readonly services: ReadonlySet<ServiceKey> }) => void): () => void;
}

/** An enrolled host as its proxy sees it. */
export interface ProxyHost {
  readonly hostId: string;
  readonly inboundPort: number;
  readonly workloads: readonly ProxyHostWorkload[];
}

export interface ProxyHostWorkload {
  /** Unique on the host. */
  readonly name: string;
  readonly group: string;
  readonly workload: WorkloadKey;
  /** The SPIFFE ID that the CA grants it. */
  readonly identity: string;
  readonly outboundPort: number;
  /** The group's probe as JSON, empty for none. */
  readonly probe: string;
}
