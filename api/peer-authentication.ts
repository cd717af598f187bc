import { fieldOf, hasField } from "./rules.ts";
import { choice, map, object, required, type ObjectRule } from "./schema.ts";
import { policyPortProblem } from "./policy-pattern.ts";
import { selector } from "./text.ts";

const mtls = object({ mode: required(choice(["UNSET", "DISABLE", "PERMISSIVE", "STRICT"])) });

/** Istio's rule; without it a port of every workload would be spoken of. */
const portsNeedSelector: ObjectRule = (value, path, report) => {
  const labels = fieldOf(value["selector"], "matchLabels");
  if (!hasField(value, "portLevelMtls") || Object.keys((labels as object | undefined) ?? {}).length > 0) return;
  report({ code: "IM0132", path: [...path, "portLevelMtls"], atKey: true, message: "portLevelMtls needs a selector with labels", remedy: "add selector.matchLabels" });
};

/** Source: istio.io/latest/docs/reference/config/security/peer_authentication */
export const peerAuthenticationSchema = object({ selector, mtls, portLevelMtls: map(policyPortProblem, mtls) }, portsNeedSelector);
