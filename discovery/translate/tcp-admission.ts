import type { FilterStateValueSchema } from "../../proto/gen/envoy/extensions/filters/common/set_filter_state/v3/value_pb.js";
import { ConfigSchema as SetFilterStateSchema } from "../../proto/gen/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state_pb.js";
import type { AuthorizationIr, PolicyIr, PolicyOperationIr, PolicyRuleIr, PolicySourceIr, StringPatternIr } from "../ir/authorization.ts";
import type { InboundPortIr } from "../ir/proxy.ts";
import { type Init, pack } from "./resource.ts";
import type { NetworkFilterInit } from "./tcp-proxy.ts";

/*
 * Envoy's RBAC filter decides on TCP when the client's first byte comes. By then
 * the proxy has connected to the application, and a server that speaks first
 * (MySQL, SMTP) has said hello to somebody who is denied. So a first decision is
 * taken when the TLS handshake has ended: whether the connection has anywhere to
 * go. (Choosing the cluster would be simpler, but tcp_proxy has chosen by then.)
 *
 * It may let in more than the policies do (it knows nothing of address blocks),
 * never less: RBAC behind it decides exactly.
 */

/** CEL: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes */
type Expression = string;

const YES: Expression = "true";
const NO: Expression = "false";
const PEER = "connection.uri_san_peer_certificate";

/** Where the ORIGINAL_DST cluster looks before it asks the connection. */
const DESTINATION_KEY = "envoy.network.transport_socket.original_dst_address";

/** Connecting to it fails at once and sends nothing. */
const NOWHERE = "255.255.255.255:1";

/** Empty where no policy holds for the port. */
export function tcpAdmission({ port, authorization }: InboundPortIr, authenticated: boolean): NetworkFilterInit[] {
  if (authorization.allow.length + authorization.deny.length === 0) return [];
  const decided = destination(`%CEL(${admission(authorization, port)} ? destination.address : "${NOWHERE}")%`);
  return [
    {
      name: "ironmesh.tcp_admission",
      configType: {
        case: "typedConfig",
        value: pack(
          SetFilterStateSchema,
          // Nowhere until the peer is known, and if the expression should fail.
          authenticated
            ? { onNewConnection: [destination(NOWHERE)], onDownstreamTlsHandshake: [decided] }
            : { onNewConnection: [destination(NOWHERE), decided] },
        ),
      },
    },
  ];
}

function destination(format: string): Init<typeof FilterStateValueSchema> {
  return {
    key: { case: "objectKey", value: DESTINATION_KEY },
    skipIfEmpty: true,
    value: {
      case: "formatString",
      value: { format: { case: "textFormatSource", value: { specifier: { case: "inlineString", value: format } } } },
    },
  };
}

function admission({ allow, deny }: AuthorizationIr, port: number): Expression {
  const denied = any(deny.map((policy) => policyExpression(policy, port, "deny")));
  const allowed = allow.length === 0 ? YES : any(allow.map((policy) => policyExpression(policy, port, "allow")));
  return all([not(denied), allowed]);
}

function policyExpression({ rules }: PolicyIr, port: number, action: "allow" | "deny"): Expression {
  return any(rules.map((rule) => ruleExpression(rule, port, action)));
}

function ruleExpression({ from, to }: PolicyRuleIr, port: number, action: "allow" | "deny"): Expression {
  const reached = to.length === 0 || to.some((operation) => reaches(operation, port, action));
  if (!reached) return NO;
  return from.length === 0 ? YES : any(from.map((source) => sourceExpression(source, action)));
}

/** On TCP, fields of HTTP make an ALLOW rule void and are left out of a DENY rule. */
function reaches(operation: PolicyOperationIr, port: number, action: "allow" | "deny"): boolean {
  const { methods, notMethods, paths, notPaths, hosts, notHosts, ports, notPorts } = operation;
  const readsHttp = [methods, notMethods, paths, notPaths, hosts, notHosts].some((list) => list.length > 0);
  if (readsHttp && action === "allow") return false;
  return (ports.length === 0 || ports.includes(port)) && !notPorts.includes(port);
}

function sourceExpression(source: PolicySourceIr, action: "allow" | "deny"): Expression {
  const { principals, notPrincipals, namespaces, notNamespaces, ipBlocks, notIpBlocks } = source;
  return all([
    ...(principals.length === 0 ? [] : [any(principals.map(principalExpression))]),
    ...(notPrincipals.length === 0 ? [] : [not(any(notPrincipals.map(principalExpression)))]),
    ...(namespaces.length === 0 ? [] : [any(namespaces.map(namespaceExpression))]),
    ...(notNamespaces.length === 0 ? [] : [not(any(notNamespaces.map(namespaceExpression)))]),
    // Address blocks are left to RBAC.
    ...(ipBlocks.length + notIpBlocks.length > 0 && action === "deny" ? [NO] : []),
  ]);
}

function principalExpression(pattern: StringPatternIr): Expression {
  switch (pattern.kind) {
    case "exact":
      return ofPeer(pattern.value, (text) => `${PEER} == "spiffe://${text}"`);
    case "prefix":
      return ofPeer(pattern.value, (text) => `${PEER}.startsWith("spiffe://${text}")`);
    case "suffix":
      return ofPeer(pattern.value, (text) => `${PEER}.endsWith("${text}")`);
    case "present":
      return ofPeer("", () => `${PEER}.startsWith("spiffe://")`);
  }
}

/** A service account has no slash in it, so the namespace is where it seems to be. */
function namespaceExpression(pattern: StringPatternIr): Expression {
  switch (pattern.kind) {
    case "exact":
      return ofPeer(pattern.value, (text) => `${PEER}.contains("/ns/${text}/sa/")`);
    case "prefix":
      return ofPeer(pattern.value, (text) => `${PEER}.contains("/ns/${text}")`);
    case "suffix":
      return ofPeer(pattern.value, (text) => `${PEER}.contains("${text}/sa/")`);
    case "present":
      return ofPeer("", () => `${PEER}.contains("/ns/")`);
  }
}

/** A plaintext peer matches nothing; nor does text that cannot stand in a SPIFFE ID, which is so kept out of the expression. */
function ofPeer(text: string, build: (text: string) => Expression): Expression {
  return /^[A-Za-z0-9._/-]*$/.test(text) ? `(connection.mtls && ${build(text)})` : NO;
}

function any(expressions: readonly Expression[]): Expression {
  const open = expressions.filter((expression) => expression !== NO);
  if (open.includes(YES)) return YES;
  return joined(open, " || ") ?? NO;
}

function all(expressions: readonly Expression[]): Expression {
  const open = expressions.filter((expression) => expression !== YES);
  if (open.includes(NO)) return NO;
  return joined(open, " && ") ?? YES;
}

function joined(expressions: readonly Expression[], operator: string): Expression | undefined {
  return expressions.length > 1 ? `(${expressions.join(operator)})` : expressions[0];
}

function not(expression: Expression): Expression {
  if (expression === YES) return NO;
  return expression === NO ? YES : `!${expression}`;
}
