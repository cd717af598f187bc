import { labelKeyProblem, labelValueProblem } from "../../../../api/name.ts";
import { err, ok, type Result } from "../../../../base/result.ts";
import { labelOfTag } from "../instance.ts";

const VALUE = String.raw`(?:"([^"]*)"|\`([^\`]*)\`|([\w./-]+))`;
const KEY = String.raw`(?:\.([\w-]+)|\["([^"]+)"\])`;
const AND = /^\s+and\s+/i;
/** The terms that an instance's labels can answer. */
const META = new RegExp(String.raw`^Service\.Meta${KEY}\s*==\s*${VALUE}`);
const TAG_IN = new RegExp(String.raw`^${VALUE}\s+in\s+Service\.Tags`);
const TAG_CONTAINS = new RegExp(String.raw`^Service\.Tags\s+contains\s+${VALUE}`);

/**
 * The labels that instances have which a filter takes, as the registry makes
 * labels of meta and tags; an error in words where labels cannot say it.
 * Source: developer.hashicorp.com/consul/api-docs/features/filtering
 */
export function labelsOfFilter(filter: string): Result<Readonly<Record<string, string>>, string> {
  const labels = new Map<string, string>();
  let rest = filter.trim();
  while (rest !== "") {
    const term = META.exec(rest) ?? TAG_IN.exec(rest) ?? TAG_CONTAINS.exec(rest);
    if (term === null) return err(`labels cannot say ${JSON.stringify(rest)}`);
    const meta = META.exec(rest);
    const [key, value] = meta === null ? labelOfTag(valueOf(term.slice(1))) : [meta[1] ?? meta[2] ?? "", valueOf(meta.slice(3))];
    const problem = labelKeyProblem(key) ?? labelValueProblem(value);
    if (problem !== undefined) return err(problem.message);
    if (value === "") return err("an empty value cannot be told from one that is missing");
    if ((labels.get(key) ?? value) !== value) return err(`it asks for two values of ${key}, which no instance has`);
    labels.set(key, value);
    rest = rest.slice(term[0].length);
    if (rest === "") break;
    const and = AND.exec(rest);
    if (and === null) return err(`labels cannot say ${JSON.stringify(rest.trim())}`);
    rest = rest.slice(and[0].length);
    if (rest === "") return err("it ends with and");
  }
  return ok(Object.fromEntries(labels));
}

function valueOf(groups: readonly (string | undefined)[]): string {
  return groups.find((group) => group !== undefined) ?? "";
}
