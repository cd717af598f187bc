import { itemsOf } from "./rules.ts";
import { choice, list, notYet, object, required, text, type ObjectRule } from "./schema.ts";
import { policyMethodProblem, policyPathProblem, policyPatternProblem, policyPortProblem, principalProblem } from "./policy-pattern.ts";
import { cidr, selector } from "./text.ts";

const principals = list(text("principal", principalProblem));
const namespaces = list(text("namespace", policyPatternProblem));
const cidrs = list(cidr);
const hosts = list(text("host", policyPatternProblem));
const ports = list(text("port number as text", policyPortProblem));
const methods = list(text("HTTP method", policyMethodProblem));
const paths = list(text("path", policyPathProblem));

/** `source: {}` would match everybody, which nobody means. */
const notEmpty: ObjectRule = (value, path, report) => {
  if (Object.keys(value).length === 0) report({ code: "IM0112", path, message: "needs at least one field; empty it would match everything" });
};

const source = object(
  {
    principals,
    notPrincipals: principals,
    namespaces,
    notNamespaces: namespaces,
    ipBlocks: cidrs,
    notIpBlocks: cidrs,
    serviceAccounts: notYet("use principals"),
    notServiceAccounts: notYet("use notPrincipals"),
    requestPrincipals: notYet(),
    notRequestPrincipals: notYet(),
    remoteIpBlocks: notYet("use ipBlocks"),
    notRemoteIpBlocks: notYet("use notIpBlocks"),
  },
  notEmpty,
);

const operation = object(
  { hosts, notHosts: hosts, ports, notPorts: ports, methods, notMethods: methods, paths, notPaths: paths },
  notEmpty,
);

/** Source: istio.io/latest/docs/concepts/security/#implicit-enablement */
const denyNeedsRules: ObjectRule = (value, path, report) => {
  if (value["action"] !== "DENY" || itemsOf(value["rules"]).length > 0) return;
  report({ code: "IM0132", path: [...path, "action"], message: "DENY without rules denies nothing", remedy: "add rules, or use ALLOW without rules to deny all" });
};

/** Source: istio.io/latest/docs/reference/config/security/authorization-policy */
export const authorizationPolicySchema = object(
  {
    selector,
    action: choice(["ALLOW", "DENY"], ["AUDIT", "CUSTOM"]),
    rules: list(
      object({
        from: list(object({ source: required(source) })),
        to: list(object({ operation: required(operation) })),
        when: notYet(),
      }),
      0,
    ),
    provider: notYet(),
    targetRef: notYet("use selector"),
    targetRefs: notYet("use selector"),
  },
  denyNeedsRules,
);
