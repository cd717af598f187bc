import type { StringMatchIr } from "./route.ts";

/**
 * The AuthorizationPolicies that hold for one workload, in Istio's order: any
 * DENY rule that matches refuses; where there is an ALLOW policy at all, some
 * ALLOW rule must match.
 * Source: istio.io/latest/docs/concepts/security/#implicit-enablement
 */
export interface AuthorizationIr {
  readonly deny: readonly PolicyIr[];
  readonly allow: readonly PolicyIr[];
}

export interface PolicyIr {
  /** `NAMESPACE/NAME` of the AuthorizationPolicy. */
  readonly name: string;
  /** Any rule that matches makes the policy match. No rule: it never matches. */
  readonly rules: readonly PolicyRuleIr[];
}

/** Each list: any of `from`, and any of `to`; an empty list holds always. */
export interface PolicyRuleIr {
  readonly from: readonly PolicySourceIr[];
  readonly to: readonly PolicyOperationIr[];
}

/** All that is present must hold; within a list, any. `not…` must match none. */
export interface PolicySourceIr {
  /** SPIFFE IDs without the scheme, as Istio writes them: `mesh.internal/ns/default/sa/web`; wildcards as prefix, suffix or `*`. */
  readonly principals: readonly PrincipalMatchIr[];
  readonly notPrincipals: readonly PrincipalMatchIr[];
  readonly namespaces: readonly StringPatternIr[];
  readonly notNamespaces: readonly StringPatternIr[];
  /** CIDRs of the peer's address. */
  readonly ipBlocks: readonly string[];
  readonly notIpBlocks: readonly string[];
}

export type PrincipalMatchIr = StringPatternIr;

/** `exact`, `prefix` (abc*), `suffix` (*abc) or `present` (*). */
export type StringPatternIr = Exclude<StringMatchIr, { kind: "regex" }> | { readonly kind: "suffix"; readonly value: string } | { readonly kind: "present" };

export interface PolicyOperationIr {
  readonly methods: readonly StringPatternIr[];
  readonly notMethods: readonly StringPatternIr[];
  readonly paths: readonly StringPatternIr[];
  readonly notPaths: readonly StringPatternIr[];
  readonly hosts: readonly StringPatternIr[];
  readonly notHosts: readonly StringPatternIr[];
  readonly ports: readonly number[];
  readonly notPorts: readonly number[];
}
