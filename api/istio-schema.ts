import { DestinationRule } from "@kubernetes-models/istio/networking.istio.io/v1/DestinationRule";
import { ServiceEntry } from "@kubernetes-models/istio/networking.istio.io/v1/ServiceEntry";
import { VirtualService } from "@kubernetes-models/istio/networking.istio.io/v1/VirtualService";
import { WorkloadEntry } from "@kubernetes-models/istio/networking.istio.io/v1/WorkloadEntry";
import { WorkloadGroup } from "@kubernetes-models/istio/networking.istio.io/v1/WorkloadGroup";
import { AuthorizationPolicy } from "@kubernetes-models/istio/security.istio.io/v1/AuthorizationPolicy";
import { PeerAuthentication } from "@kubernetes-models/istio/security.istio.io/v1/PeerAuthentication";
import type { FieldPath } from "./finding.ts";
import type { Kind } from "./resource.ts";

type Validate = (spec: never) => void;

/** Istio's own schema of each kind, compiled. `v1`'s serves all versions: their specifications are the same. */
const VALIDATORS: Readonly<Record<Exclude<Kind, "Service">, Validate>> = {
  VirtualService: (spec) => new VirtualService({ spec }).validate(),
  DestinationRule: (spec) => new DestinationRule({ spec }).validate(),
  ServiceEntry: (spec) => new ServiceEntry({ spec }).validate(),
  WorkloadEntry: (spec) => new WorkloadEntry({ spec }).validate(),
  WorkloadGroup: (spec) => new WorkloadGroup({ spec }).validate(),
  PeerAuthentication: (spec) => new PeerAuthentication({ spec }).validate(),
  AuthorizationPolicy: (spec) => new AuthorizationPolicy({ spec }).validate(),
};

/** One complaint of Istio's schema. */
export interface StructuralError {
  readonly path: FieldPath;
  readonly message: string;
}

/**
 * The second opinion on a specification: what Istio's published schema says of
 * it. It accepts unknown fields and any text as a duration, so it never is the
 * only check.
 */
export function structuralErrors(kind: Kind, spec: unknown): StructuralError[] {
  if (kind === "Service") return [];
  try {
    VALIDATORS[kind](spec as never);
    return [];
  } catch (failure) {
    if (!(failure instanceof Error) || !("errors" in failure) || !Array.isArray(failure.errors)) throw failure;
    return failure.errors.map((error: { instancePath: string; message?: string }) => ({
      path: pointerPath(error.instancePath),
      message: error.message ?? "does not fit",
    }));
  }
}

function pointerPath(pointer: string): FieldPath {
  const parts = pointer.split("/").slice(1).map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  return parts.map((part) => (/^\d+$/.test(part) ? Number(part) : part));
}
