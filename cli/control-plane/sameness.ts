import { z } from "zod";
import { findSamenessFaults, isPattern, parseSamenessMember, type SamenessMember, type SamenessRule } from "../../discovery/catalog/sameness.ts";
import { beginningOf, type NamedRegistry } from "./registry-conflicts.ts";

const namePattern = z.string().refine(isPattern, "must be a name, in which one * may stand for the rest");

/** One rule of `sameness`, as it is written. */
export const samenessSchema = z.strictObject({
  of: z.array(z.string())
    .describe("What is one service, in order of precedence, as REGISTRY/NAMESPACE or REGISTRY/NAMESPACE/NAME, like `get services` shows them. The joined service has the namespace and name of the first. A * stands for the same text in all."),
  services: z.array(namePattern).min(1).optional().describe("Names that the rule is about, as the first member has them; all where absent."),
  except: z.array(namePattern).optional().describe("Names that the rule is not about."),
  allowPlaintext: z.boolean().default(false).describe("Endpoints that are not in the mesh serve beside those that are; without it they get no traffic there."),
});

export type SamenessConfig = z.infer<typeof samenessSchema>;

export interface SamenessFault {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** The rule, parsed; what cannot be read is left out, and is a fault. */
export function samenessRule({ of: members, ...rest }: SamenessConfig): SamenessRule {
  return {
    ...rest,
    of: members.flatMap((text) => {
      const member = parseSamenessMember(text);
      return member.ok ? [member.value] : [];
    }),
  };
}

/** What is wrong with a rule, given the registries that there are. */
export function findFaultsOfSameness(config: SamenessConfig, registries: readonly NamedRegistry[]): SamenessFault[] {
  const faults = config.of.flatMap((text, index): SamenessFault[] => {
    const member = parseSamenessMember(text);
    const message = member.ok ? faultOfMember(member.value, registries) : member.error;
    return message === undefined ? [] : [{ path: ["of", index], message }];
  });
  return faults.length > 0 ? faults : findSamenessFaults(samenessRule(config));
}

function faultOfMember({ registry: name, namespace }: SamenessMember, registries: readonly NamedRegistry[]): string | undefined {
  if (name === "static") return undefined;
  if (name === "hosts") return "hosts have no services of their own: name static, whose services select their workloads";
  const registry = registries.find((one) => one.name === name);
  if (registry === undefined) return `no registry is called ${name}; there are ${["static", ...registries.map((one) => one.name)].join(", ")}`;
  const beginning = beginningOf(registry);
  if (registry.kind === "consul" && namespace !== beginning) return `the services of ${name} are in the namespace ${beginning}`;
  if (registry.kind === "kubernetes" && !namespace.startsWith(beginning)) return `namespaces of ${name} begin with ${beginning}: ${beginning}${namespace}?`;
  return undefined;
}
