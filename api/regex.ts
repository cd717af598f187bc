import type { Problem } from "./finding.ts";

/** What JavaScript takes and RE2 does not. */
const NOT_RE2: readonly (readonly [RegExp, string])[] = [
  [/^\(\?<?[=!]/, "lookaround"],
  [/^\\[1-9]/, "a backreference"],
  [/^\\k</, "a backreference"],
  [/^\(\?>/, "an atomic group"],
];

const UNKNOWN_ESCAPE = /^\\(?![afnrtvdDsSwWbBAzpPCQExk])[A-Za-z]/;

/** RE2 refuses counted repetitions beyond this. */
const MAX_REPEAT = 1_000;
const MAX_LENGTH = 1_024;

/**
 * Tells why Envoy would refuse a regular expression. It is judged without being
 * run: compiled by JavaScript where the two dialects agree, and searched for
 * what only one of them has.
 * Source: github.com/google/re2/wiki/Syntax
 */
export function regexProblem(written: string): Problem | undefined {
  if (written === "") return bad("the expression is empty");
  if (written.length > MAX_LENGTH) return bad(`the expression is longer than ${MAX_LENGTH} characters`);
  const foreign = foreignSyntax(written);
  if (foreign !== undefined) return bad(`RE2 has no ${foreign.replace(/^an? /, "")}`, "rewrite it without");
  try {
    RegExp(inJavaScript(written));
    return undefined;
  } catch (failure) {
    const message = failure instanceof Error ? failure.message : String(failure);
    return bad(message.replace(/^Invalid regular expression: \/.*\/\w*: /s, "").toLowerCase());
  }
}

/** Named groups, inline flags and POSIX classes in a form that JavaScript compiles; the meaning does not matter here. */
function inJavaScript(written: string): string {
  return written
    .replaceAll("(?P<", "(?<")
    .replace(/\(\?[imsU]*(?:-[imsU]+)?(:|\))/g, (_, end: string) => (end === ":" ? "(?:" : "(?:)"))
    .replace(/\[:\^?\w+:\]/g, "\\w");
}

function bad(message: string, remedy?: string): Problem {
  return { code: "IM0123", message, ...(remedy === undefined ? {} : { remedy }) };
}

/** Walks the expression outside of character classes. */
function foreignSyntax(written: string): string | undefined {
  let isInClass = false;
  for (let index = 0; index < written.length; index += 1) {
    const rest = written.slice(index);
    if (UNKNOWN_ESCAPE.test(rest)) return `escape ${rest.slice(0, 2)}`;
    if (!isInClass) {
      const found = NOT_RE2.find(([pattern]) => pattern.test(rest));
      if (found !== undefined) return found[1];
      if (/^[*+?}]\+/.test(rest)) return "a possessive quantifier";
      const repeat = /^\{(\d+)(?:,(\d*))?\}/.exec(rest);
      if (repeat !== null && Math.max(Number(repeat[1]), Number(repeat[2] ?? 0)) > MAX_REPEAT) return `a repetition beyond ${MAX_REPEAT}`;
    }
    if (rest.startsWith("\\")) index += 1;
    else if (rest.startsWith("[")) isInClass = true;
    else if (rest.startsWith("]")) isInClass = false;
  }
  return undefined;
}
