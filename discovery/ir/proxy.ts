import type { AuthorizationIr } from "./authorization.ts";
import type { ClientValidationIr } from "./cluster.ts";
import type { OutboundShapeIr } from "./outbound.ts";

/**
 * What one proxy's listeners are made of, inbound and outbound. The clusters,
 * endpoints and virtual hosts that the listeners point at are shared by every
 * proxy of the same scope and are not part of it.
 */
export interface ProxyIr extends HostIr {
  readonly workloads: readonly ProxyWorkloadIr[];
}

/** The part of it that no other host and no service elsewhere has a say in. */
export interface HostIr {
  readonly hostId: string;
  /** Where captured inbound connections arrive: 15006. */
  readonly inboundPort: number;
  /** Sorted by name. */
  readonly workloads: readonly HostWorkloadIr[];
  /** Whom an inbound connection may come from: any workload of the trusted domains. */
  readonly clientValidation: ClientValidationIr;
  /** Places that more than one workload claims: who lost them. Absent: none. */
  readonly contested?: readonly ContestedPortIr[];
  /** Absent: none. `json`: one JSON object per request or connection on Envoy's standard output. */
  readonly accessLog?: "json";
}

export interface ProxyWorkloadIr extends HostWorkloadIr {
  /** The same object for all workloads of one scope. */
  readonly outbound: OutboundShapeIr;
}

export interface HostWorkloadIr {
  /** Unique on the host. */
  readonly name: string;
  readonly namespace: string;
  /** The SPIFFE ID, which is also the name of the SDS secret that it calls with (`serverSecretName` of it: the one that it answers with). */
  readonly identity: string;
  /** Loopback port of its outbound listener, assigned by the agent. */
  readonly outboundPort: number;
  readonly inbound: readonly InboundPortIr[];
}

/** One captured port of one workload. */
export interface InboundPortIr {
  readonly port: number;
  /** The addresses at which it is served; empty: every address of the host. */
  readonly addresses: readonly string[];
  readonly protocol: "http1" | "http2" | "tcp";
  /** `STRICT`: mutual TLS only. `PERMISSIVE`: plain too. `DISABLE`: plain only. */
  readonly mtls: "STRICT" | "PERMISSIVE" | "DISABLE";
  readonly authorization: AuthorizationIr;
}

/** A port that a workload does not get, because another of the host has it. */
export interface ContestedPortIr {
  /** The one that lost it. */
  readonly workload: string;
  /** Empty: every address of the host. */
  readonly address: string;
  readonly port: number;
  /** The workload that keeps it. */
  readonly owner: string;
}
