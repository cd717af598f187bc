import type { IDestinationRule } from "@kubernetes-models/istio/networking.istio.io/v1/DestinationRule";
import type { IServiceEntry } from "@kubernetes-models/istio/networking.istio.io/v1/ServiceEntry";
import type { IVirtualService } from "@kubernetes-models/istio/networking.istio.io/v1/VirtualService";
import type { IWorkloadEntry } from "@kubernetes-models/istio/networking.istio.io/v1/WorkloadEntry";
import type { IWorkloadGroup } from "@kubernetes-models/istio/networking.istio.io/v1/WorkloadGroup";
import type { IAuthorizationPolicy } from "@kubernetes-models/istio/security.istio.io/v1/AuthorizationPolicy";
import type { IPeerAuthentication } from "@kubernetes-models/istio/security.istio.io/v1/PeerAuthentication";
import type { SourcePosition } from "../base/issue.ts";

/** The core `v1/Service`, as far as a host without Kubernetes has a use for it. */
export interface CoreServiceSpec {
  /** Labels of the WorkloadEntries and workloads that serve it. */
  readonly selector?: Readonly<Record<string, string>>;
  readonly ports: readonly {
    readonly name?: string;
    readonly port: number;
    readonly targetPort?: number | string;
    readonly protocol?: "TCP";
    readonly appProtocol?: string;
  }[];
}

/** The specification of each kind that users may write, in Istio's own shape. */
export interface Specs {
  readonly Service: CoreServiceSpec;
  readonly ServiceEntry: NonNullable<IServiceEntry["spec"]>;
  readonly WorkloadEntry: NonNullable<IWorkloadEntry["spec"]>;
  readonly WorkloadGroup: NonNullable<IWorkloadGroup["spec"]>;
  readonly VirtualService: NonNullable<IVirtualService["spec"]>;
  readonly DestinationRule: NonNullable<IDestinationRule["spec"]>;
  readonly PeerAuthentication: NonNullable<IPeerAuthentication["spec"]>;
  readonly AuthorizationPolicy: NonNullable<IAuthorizationPolicy["spec"]>;
}

export type Kind = keyof Specs;

export interface Metadata {
  readonly name: string;
  /** `default` where the user wrote none. */
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** One accepted resource: validated, its defaults not yet applied. */
export interface ResourceOf<K extends Kind> {
  readonly apiVersion: string;
  readonly kind: K;
  readonly metadata: Metadata;
  readonly spec: Specs[K];
  /** Where its document begins. */
  readonly position: SourcePosition;
  /** Which configuration source it comes from: `files`, `store`, `kubernetes`. */
  readonly origin: string;
  /**
   * Its names in namespaces that begin so mean services of such namespaces
   * alone, and none that took over those names; absent: whoever has them.
   */
  readonly confinedTo?: string;
}

export type AnyResource = { [K in Kind]: ResourceOf<K> }[Kind];

/** `KIND/NAMESPACE/NAME`, unique in a mesh. */
export type ResourceKey = string;

export function resourceKey(resource: { kind: Kind; metadata: Pick<Metadata, "name" | "namespace"> }): ResourceKey {
  return `${resource.kind}/${resource.metadata.namespace}/${resource.metadata.name}`;
}
