import type { Metadata } from "../../api/resource.ts";
import { selects } from "../../model/workload.ts";

/** The workload that selectors are resolved for. */
export interface PolicyTarget {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Whose policies hold in its namespace too, the narrowest first. */
  readonly rootNamespaces: readonly string[];
}

interface Selecting {
  readonly metadata: Metadata;
  readonly spec: { readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> } };
}

/** True for a policy that speaks of all workloads of its namespace. */
export function isUnselective(policy: Selecting): boolean {
  return Object.keys(policy.spec.selector?.matchLabels ?? {}).length === 0;
}

/** The policies that hold for a workload, sorted by namespace and name. */
export function policiesOf<P extends Selecting>(policies: readonly P[], target: PolicyTarget): P[] {
  return policies
    .filter(({ metadata }) => metadata.namespace === target.namespace || target.rootNamespaces.includes(metadata.namespace))
    .filter((policy) => selects(policy.spec.selector?.matchLabels ?? {}, target.labels))
    .sort((left, right) => (nameOf(left) < nameOf(right) ? -1 : 1));
}

function nameOf({ metadata }: Selecting): string {
  return `${metadata.namespace}/${metadata.name}`;
}
