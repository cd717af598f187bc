import {
  type PermissionSchema,
  type PolicySchema,
  type PrincipalSchema,
  RBAC_Action as Action,
  type RBACSchema,
} from "../../proto/gen/envoy/config/rbac/v3/rbac_pb.js";
import { ConfigSchema as MtlsAuthenticatedSchema } from "../../proto/gen/envoy/extensions/rbac/principals/mtls_authenticated/v3/mtls_authenticated_pb.js";
import type {
  AuthorizationIr,
  PolicyIr,
  PolicyOperationIr,
  PolicyRuleIr,
  PolicySourceIr,
  StringPatternIr,
} from "../ir/authorization.ts";
import type { StringMatchIr } from "../ir/route.ts";
import { type Init, pack, sortedByKey } from "./resource.ts";
import { cidrRange } from "./socket-address.ts";
import { quoteRegex, stringMatcher } from "./string-matcher.ts";
import { uriSan } from "./validation.ts";

type RbacInit = Init<typeof RBACSchema>;
type PolicyInit = Init<typeof PolicySchema>;
type PermissionInit = Init<typeof PermissionSchema>;
type PrincipalInit = Init<typeof PrincipalSchema>;
type Pattern = StringPatternIr | StringMatchIr;

/** What can be seen of the traffic of a port. */
export type Visibility = "http" | "tcp";

const ANY_PERMISSION: PermissionInit = { rule: { case: "any", value: true } };
const ANY_PRINCIPAL: PrincipalInit = { identifier: { case: "any", value: true } };

/** Undefined where nothing is denied. */
export function denyRules(authorization: AuthorizationIr, visibility: Visibility): RbacInit | undefined {
  const { deny } = authorization;
  const isGuarded = visibility === "http" && readsPaths(authorization);
  if (deny.length === 0 && !isGuarded) return undefined;
  // On TCP, fields of HTTP are left out of a DENY rule: it denies too much rather than too little.
  const rules = visibility === "http" ? deny : deny.map((policy) => mapRules(policy, withoutHttpFields));
  return { action: Action.DENY, policies: { ...(isGuarded ? AMBIGUOUS_PATH : {}), ...policyMap(rules) } };
}

/**
 * Refuses paths that can be written in more than one way, where a policy decides
 * by the path. The listener leaves none of them (see `pathRules` of the
 * connection manager); but a policy reaches open connections at once, and the
 * listener that goes with it only new ones, and later.
 */
const AMBIGUOUS_PATH: Readonly<Record<string, PolicyInit>> = {
  "ironmesh-ambiguous-path": {
    permissions: [pathPermission({ kind: "regex", value: String.raw`.*(//|\\|%2[fF]|%5[cC]).*` })],
    principals: [ANY_PRINCIPAL],
  },
};

/** Undefined where no ALLOW policy holds; one without a rule that can match allows nothing. */
export function allowRules({ allow }: AuthorizationIr, visibility: Visibility): RbacInit | undefined {
  if (allow.length === 0) return undefined;
  // On TCP, an operation that asks for anything of HTTP can never match.
  const rules = visibility === "http" ? allow : allow.map((policy) => mapRules(policy, withoutHttpOperations));
  return { action: Action.ALLOW, policies: policyMap(rules) };
}

/** True where a policy decides by the path, so that there must be one way only to write each path. */
export function readsPaths({ allow, deny }: AuthorizationIr): boolean {
  const operations = [...allow, ...deny].flatMap((policy) => policy.rules.flatMap((rule) => rule.to));
  return operations.some(({ paths, notPaths }) => paths.length + notPaths.length > 0);
}

function mapRules(policy: PolicyIr, change: (rule: PolicyRuleIr) => PolicyRuleIr[]): PolicyIr {
  return { ...policy, rules: policy.rules.flatMap(change) };
}

function withoutHttpFields(rule: PolicyRuleIr): PolicyRuleIr[] {
  const to = rule.to.map(({ ports, notPorts }) => ({ ...NO_HTTP_FIELDS, ports, notPorts }));
  return [{ ...rule, to }];
}

function withoutHttpOperations(rule: PolicyRuleIr): PolicyRuleIr[] {
  const to = rule.to.filter((operation) => !readsHttp(operation));
  return rule.to.length > 0 && to.length === 0 ? [] : [{ ...rule, to }];
}

const NO_HTTP_FIELDS = { methods: [], notMethods: [], paths: [], notPaths: [], hosts: [], notHosts: [] } as const;

function readsHttp(operation: PolicyOperationIr): boolean {
  const { methods, notMethods, paths, notPaths, hosts, notHosts } = operation;
  return [methods, notMethods, paths, notPaths, hosts, notHosts].some((list) => list.length > 0);
}

/** Named as Istio names them: Envoy's logs show the name of the rule that decided. */
function policyMap(policies: readonly PolicyIr[]): Record<string, PolicyInit> {
  const entries = policies.flatMap(({ name, rules }) => {
    const [namespace = "", policy = ""] = name.split("/");
    return rules.map((rule, index) => [`ns[${namespace}]-policy[${policy}]-rule[${index}]`, policyOf(rule)] as const);
  });
  return sortedByKey(Object.fromEntries(entries));
}

function policyOf({ from, to }: PolicyRuleIr): PolicyInit {
  return {
    permissions: to.length === 0 ? [ANY_PERMISSION] : to.map(permission),
    principals: from.length === 0 ? [ANY_PRINCIPAL] : from.map(principal),
  };
}

function permission(operation: PolicyOperationIr): PermissionInit {
  const { methods, notMethods, paths, notPaths, hosts, notHosts, ports, notPorts } = operation;
  return allPermissions([
    ...anyPermission(methods.map(methodPermission)),
    ...anyPermission(notMethods.map(methodPermission)).map(notPermission),
    ...anyPermission(paths.map(pathPermission)),
    ...anyPermission(notPaths.map(pathPermission)).map(notPermission),
    ...anyPermission(hosts.map(hostPermission)),
    ...anyPermission(notHosts.map(hostPermission)).map(notPermission),
    ...anyPermission(ports.map(portPermission)),
    ...anyPermission(notPorts.map(portPermission)).map(notPermission),
  ]);
}

function methodPermission(pattern: StringPatternIr): PermissionInit {
  return headerPermission(":method", pattern);
}

/** Host names have no case, and a port behind one does not make it another host. */
function hostPermission(pattern: StringPatternIr): PermissionInit {
  return headerPermission(":authority", hostPattern(pattern));
}

function hostPattern(pattern: StringPatternIr): Pattern {
  switch (pattern.kind) {
    case "present":
      return pattern;
    case "prefix":
      return { kind: "regex", value: `(?i)${quoteRegex(pattern.value)}.*` };
    case "exact":
      return { kind: "regex", value: `(?i)${quoteRegex(pattern.value)}(:[0-9]+)?` };
    case "suffix":
      return { kind: "regex", value: `(?i).*${quoteRegex(pattern.value)}(:[0-9]+)?` };
  }
}

function headerPermission(name: string, pattern: Pattern): PermissionInit {
  const value = stringMatcher(pattern);
  return { rule: { case: "header", value: { name, headerMatchSpecifier: { case: "stringMatch", value } } } };
}

/** The path without its query. */
function pathPermission(pattern: Pattern): PermissionInit {
  return { rule: { case: "urlPath", value: { rule: { case: "path", value: stringMatcher(pattern) } } } };
}

function portPermission(port: number): PermissionInit {
  return { rule: { case: "destinationPort", value: port } };
}

function principal(source: PolicySourceIr): PrincipalInit {
  const { principals, notPrincipals, namespaces, notNamespaces, ipBlocks, notIpBlocks } = source;
  return allPrincipals([
    ...anyPrincipal(principals.map((pattern) => peer(spiffePattern(pattern)))),
    ...anyPrincipal(notPrincipals.map((pattern) => peer(spiffePattern(pattern)))).map(notPrincipal),
    ...anyPrincipal(namespaces.map((pattern) => peer(namespacePattern(pattern)))),
    ...anyPrincipal(notNamespaces.map((pattern) => peer(namespacePattern(pattern)))).map(notPrincipal),
    ...anyPrincipal(ipBlocks.map(addressPrincipal)),
    ...anyPrincipal(notIpBlocks.map(addressPrincipal)).map(notPrincipal),
  ]);
}

/**
 * The peer's SPIFFE ID, from a certificate that was verified. A plaintext peer
 * matches none of these, not even `*`.
 */
function peer(pattern: Pattern): PrincipalInit {
  return {
    identifier: {
      case: "custom",
      value: {
        name: "envoy.rbac.principals.mtls_authenticated",
        typedConfig: pack(MtlsAuthenticatedSchema, { sanMatcher: uriSan(pattern) }),
      },
    },
  };
}

/** Istio writes principals without `spiffe://`. */
function spiffePattern(pattern: StringPatternIr): Pattern {
  switch (pattern.kind) {
    case "exact":
    case "prefix":
      return { kind: pattern.kind, value: `spiffe://${pattern.value}` };
    case "suffix":
      return pattern;
    case "present":
      return { kind: "prefix", value: "spiffe://" };
  }
}

/** The namespace of `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, of whatever trust domain. */
function namespacePattern(pattern: StringPatternIr): Pattern {
  return { kind: "regex", value: `spiffe://[^/]+/ns/${namespaceRegex(pattern)}/sa/.+` };
}

function namespaceRegex(pattern: StringPatternIr): string {
  switch (pattern.kind) {
    case "exact":
      return quoteRegex(pattern.value);
    case "prefix":
      return `${quoteRegex(pattern.value)}[^/]*`;
    case "suffix":
      return `[^/]*${quoteRegex(pattern.value)}`;
    case "present":
      return "[^/]+";
  }
}

function addressPrincipal(block: string): PrincipalInit {
  return { identifier: { case: "directRemoteIp", value: cidrRange(block) } };
}

function anyPermission(rules: readonly PermissionInit[]): PermissionInit[] {
  const [only] = rules;
  if (only === undefined) return [];
  return rules.length === 1 ? [only] : [{ rule: { case: "orRules", value: { rules: [...rules] } } }];
}

function allPermissions(rules: readonly PermissionInit[]): PermissionInit {
  const [only] = rules;
  if (only === undefined) return ANY_PERMISSION;
  return rules.length === 1 ? only : { rule: { case: "andRules", value: { rules: [...rules] } } };
}

function notPermission(value: PermissionInit): PermissionInit {
  return { rule: { case: "notRule", value } };
}

function anyPrincipal(ids: readonly PrincipalInit[]): PrincipalInit[] {
  const [only] = ids;
  if (only === undefined) return [];
  return ids.length === 1 ? [only] : [{ identifier: { case: "orIds", value: { ids: [...ids] } } }];
}

function allPrincipals(ids: readonly PrincipalInit[]): PrincipalInit {
  const [only] = ids;
  if (only === undefined) return ANY_PRINCIPAL;
  return ids.length === 1 ? only : { identifier: { case: "andIds", value: { ids: [...ids] } } };
}

function notPrincipal(value: PrincipalInit): PrincipalInit {
  return { identifier: { case: "notId", value } };
}
