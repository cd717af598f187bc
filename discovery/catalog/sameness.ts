import { err, ok } from "../../base/result.ts";
import type { Result } from "../../base/result.ts";
import { isHostname } from "../../model/hostname.ts";

/**
 * Says that services of several registries are one. Only whoever configures the
 * control plane can: it lets those who write to one registry serve the callers
 * of another.
 */
export interface SamenessRule {
  /** In order of precedence; where the first one's services live, there lives the joined one. At least two. */
  readonly of: readonly SamenessMember[];
  /** Names that the rule is about, as the first member has them: exact ones, or `shop-*`. Absent: all. */
  readonly services?: readonly string[] | undefined;
  /** Names, written alike, that it is not about. */
  readonly except?: readonly string[] | undefined;
  /** Endpoints without an identity may serve it beside meshed ones. */
  readonly allowPlaintext: boolean;
}

/** Services of one registry, by patterns with at most one `*` each. */
export interface SamenessMember {
  readonly registry: string;
  readonly namespace: string;
  readonly name: string;
}

/** Where a rule puts a service. */
export interface SamenessPlace {
  /** Of the joined service. */
  readonly namespace: string;
  readonly name: string;
  /** Which rule, and which of its members: what comes first goes before. */
  readonly rule: number;
  readonly member: number;
  readonly allowsPlaintext: boolean;
}

/** All rules of a mesh. */
export interface Sameness {
  /** Undefined for a service that no rule is about. */
  placeOf(registry: string, service: { readonly namespace: string; readonly name: string }): SamenessPlace | undefined;
}

/**
 * Reads `REGISTRY/NAMESPACE` or `REGISTRY/NAMESPACE/NAME` with the mesh's
 * namespaces, as `get services` shows all three. The error says what is wrong.
 */
export function parseSamenessMember(text: string): Result<SamenessMember, string> {
  const [registry = "", namespace = "", name = "*", ...rest] = text.split("/");
  if (registry === "" || namespace === "" || rest.length > 0) return err(`${JSON.stringify(text)} does not read REGISTRY/NAMESPACE or REGISTRY/NAMESPACE/NAME`);
  for (const part of [namespace, name]) {
    if (!isPattern(part)) return err(`${JSON.stringify(part)} is no name with at most one *`);
  }
  return ok({ registry, namespace, name });
}

/** `REGISTRY/NAMESPACE/NAME`. */
export function formatSamenessMember({ registry, namespace, name }: SamenessMember): string {
  return [registry, namespace, ...(name === "*" ? [] : [name])].join("/");
}

/** True for a name in which one `*` may stand for the rest. */
export function isPattern(text: string): boolean {
  const [head, tail, ...rest] = text.split("*");
  if (tail === undefined) return isHostname(text);
  return rest.length === 0 && isHostname(`${head}x${tail}`);
}

/** What makes a rule meaningless by itself; the path of the field goes before each message. */
export function findSamenessFaults({ of: members }: SamenessRule): { readonly path: readonly (string | number)[]; readonly message: string }[] {
  if (members.length < 2) return [{ path: ["of"], message: "must name at least two" }];
  const [first] = members;
  return members.flatMap((member, index) => {
    const path = ["of", index];
    const written = formatSamenessMember(member);
    if (members.findIndex((other) => formatSamenessMember(other) === written) < index) return [{ path, message: `${written} stands there twice` }];
    return (["namespace", "name"] as const).flatMap((field) =>
      member[field].includes("*") === first?.[field].includes("*") ? [] : [{ path, message: `a * in the ${field} of one member must be in that of every member: it stands for the same text in all` }],
    );
  });
}

/** The first rule that is about a service places it. */
export function createSameness(rules: readonly SamenessRule[]): Sameness {
  return {
    placeOf(registry, service) {
      for (const [rule, { of: members, services, except, allowPlaintext }] of rules.entries()) {
        for (const [member, pattern] of members.entries()) {
          const place = pattern.registry === registry ? translate(pattern, members[0] ?? pattern, service) : undefined;
          if (place === undefined || !isMeant(place.name, services, except)) continue;
          return { ...place, rule, member, allowsPlaintext: allowPlaintext };
        }
      }
      return undefined;
    },
  };
}

function translate(from: SamenessMember, to: SamenessMember, { namespace, name }: { readonly namespace: string; readonly name: string }): { readonly namespace: string; readonly name: string } | undefined {
  const inNamespace = starIn(from.namespace, namespace);
  const inName = starIn(from.name, name);
  if (inNamespace === undefined || inName === undefined) return undefined;
  return { namespace: to.namespace.replace("*", () => inNamespace), name: to.name.replace("*", () => inName) };
}

function isMeant(name: string, services: readonly string[] | undefined, except: readonly string[] | undefined): boolean {
  if (except?.some((pattern) => starIn(pattern, name) !== undefined) === true) return false;
  return services === undefined || services.some((pattern) => starIn(pattern, name) !== undefined);
}

/** What `*` stands for in a text that the pattern matches, empty where there is none; undefined where it does not match. */
function starIn(pattern: string, text: string): string | undefined {
  const [head = "", tail] = pattern.split("*");
  if (tail === undefined) return pattern === text ? "" : undefined;
  if (text.length <= head.length + tail.length || !text.startsWith(head) || !text.endsWith(tail)) return undefined;
  return text.slice(head.length, text.length - tail.length);
}
