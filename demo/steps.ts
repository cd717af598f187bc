import type { Step } from "./step.ts";
import { authorization } from "./steps/authorization.ts";
import { CONSUL_STEPS } from "./steps/consul.ts";
import { consulPublished } from "./steps/consul-published.ts";
import { inventory } from "./steps/inventory.ts";
import { leave } from "./steps/leave.ts";
import { hostLoss } from "./steps/host-loss.ts";
import { mutualTls } from "./steps/mutual-tls.ts";
import { SAMENESS_STEPS } from "./steps/sameness.ts";
import { resilience } from "./steps/resilience.ts";
import { staticStability } from "./steps/static-stability.ts";
import { trafficSplit } from "./steps/traffic-split.ts";

/** Everything that the demo shows, in this order: a host that died stays dead for the steps after it. */
export function stepsOf({ hasConsul, hasKubernetes }: { readonly hasConsul: boolean; readonly hasKubernetes: boolean }): readonly Step[] {
  return [
    inventory, mutualTls, trafficSplit, resilience, authorization,
    ...(hasConsul ? [...CONSUL_STEPS, consulPublished] : []),
    ...(hasKubernetes ? SAMENESS_STEPS : []),
    hostLoss, staticStability, leave,
  ];
}
