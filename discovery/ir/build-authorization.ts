import { policyPattern } from "../../api/policy-pattern.ts";
import type { ResourceOf, Specs } from "../../api/resource.ts";
import type {
  AuthorizationIr,
  PolicyIr,
  PolicyOperationIr,
  PolicyRuleIr,
  PolicySourceIr,
  StringPatternIr,
} from "./authorization.ts";
import { policiesOf, type PolicyTarget } from "./policy-target.ts";

type Policy = ResourceOf<"AuthorizationPolicy">;
type Rule = NonNullable<Specs["AuthorizationPolicy"]["rules"]>[number];
type Source = NonNullable<NonNullable<Rule["from"]>[number]["source"]>;
type Operation = NonNullable<NonNullable<Rule["to"]>[number]["operation"]>;

/** The policies that hold for a workload: those of its namespace and of the root namespace that select it. */
export function buildAuthorization(policies: readonly Policy[], target: PolicyTarget): AuthorizationIr {
  const held = policiesOf(policies, target);
  const ofAction = (action: "ALLOW" | "DENY"): PolicyIr[] =>
    held.filter((policy) => (policy.spec.action ?? "ALLOW") === action).map(buildPolicy);
  return { deny: ofAction("DENY"), allow: ofAction("ALLOW") };
}

/** A policy without rules never matches; a rule `{}` always does. */
function buildPolicy(policy: Policy): PolicyIr {
  return {
    name: `${policy.metadata.namespace}/${policy.metadata.name}`,
    rules: (policy.spec.rules ?? []).map(buildRule),
  };
}

function buildRule(rule: Rule): PolicyRuleIr {
  return {
    from: (rule.from ?? []).map((from) => buildSource(from.source ?? {})),
    to: (rule.to ?? []).map((to) => buildOperation(to.operation ?? {})),
  };
}

function buildSource(source: Source): PolicySourceIr {
  return {
    principals: patterns(source.principals),
    notPrincipals: patterns(source.notPrincipals),
    namespaces: patterns(source.namespaces),
    notNamespaces: patterns(source.notNamespaces),
    ipBlocks: source.ipBlocks ?? [],
    notIpBlocks: source.notIpBlocks ?? [],
  };
}

function buildOperation(operation: Operation): PolicyOperationIr {
  return {
    methods: patterns(operation.methods),
    notMethods: patterns(operation.notMethods),
    paths: patterns(operation.paths),
    notPaths: patterns(operation.notPaths),
    hosts: patterns(operation.hosts),
    notHosts: patterns(operation.notHosts),
    ports: (operation.ports ?? []).map(Number),
    notPorts: (operation.notPorts ?? []).map(Number),
  };
}

function patterns(written: readonly string[] | undefined): StringPatternIr[] {
  return (written ?? []).map(policyPattern);
}
