import type { Problem } from "./finding.ts";

/** What JavaScript takes and RE2 does not, outside of character classes. */
const NOT_RE2: readonly (readonly [RegExp, string])[] = [
  [/^\(\?<?[=!]/, "lookaround"],
  [/^\\[1-9]/, "backreference"],
  [/^\\k</, "backreference"],
  [/^\(\?>/, "atomic group"],
  [/^[*+?}]\+/, "possessive quantifier"],
  [/^\(\?P?<(?!\w+>)/, "group name other than letters, digits and _"],
];

const UNKNOWN_ESCAPE = /^\\(?:(?![afnrtvdDsSwWbBAzpPCQExk])[A-Za-z]|[\u0080-\uffff])/;
/** Letters of Unicode's general categories, as RE2 names them. */
const CATEGORY = /^(?:Any|C[cfos]?|L[lmotu]?|M[cen]?|N[dlo]?|P[cdefios]?|S[ckmo]?|Z[lps]?)$/;
const POSIX_CLASS = /^\[:\^?(?:alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]/;

/** RE2 refuses counted repetitions beyond this, also where they are nested and multiply. */
const MAX_REPEAT = 1_000;
const MAX_LENGTH = 1_024;

/**
 * Tells why Envoy would refuse a regular expression. It is judged without being
 * run: compiled by JavaScript where the two dialects agree, and searched for
 * what only one of them has. How large a program it makes is known to RE2 alone.
 * Source: github.com/google/re2/wiki/Syntax
 */
export function regexProblem(written: string): Problem | undefined {
  if (written === "") return bad("the expression is empty");
  if (written.length > MAX_LENGTH) return bad(`the expression is longer than ${MAX_LENGTH} characters`);
  const foreign = foreignSyntax(written);
  if (foreign !== undefined) return bad(foreign, "rewrite it without");
  try {
    RegExp(inJavaScript(written));
    return undefined;
  } catch (failure) {
    const message = failure instanceof Error ? failure.message : String(failure);
    return bad(message.replace(/^Invalid regular expression: \/.*\/\w*: /s, "").toLowerCase());
  }
}

/** Named groups, inline flags and classes of RE2 in a form that JavaScript compiles; the meaning does not matter here. */
function inJavaScript(written: string): string {
  return written
    .replaceAll("(?P<", "(?<")
    .replace(/\(\?[imsU]*(?:-[imsU]+)?(:|\))/g, (_, end: string) => (end === ":" ? "(?:" : "(?:)"))
    .replace(/\[:\^?\w+:\]/g, "\\w")
    .replace(/\[(\^?)\]/g, "[$1\\]");
}

function bad(message: string, remedy?: string): Problem {
  return { code: "IM0123", message, ...(remedy === undefined ? {} : { remedy }) };
}

/** Walks the expression, and counts how often nested repetitions repeat the innermost. */
function foreignSyntax(written: string): string | undefined {
  const groups: number[] = [1];
  let atom = 1;
  const take = (repeats: number): void => {
    atom = repeats;
    groups[groups.length - 1] = Math.max(groups.at(-1) ?? 1, repeats);
  };
  for (let index = 0; index < written.length; ) {
    const rest = written.slice(index);
    const found = NOT_RE2.find(([pattern]) => pattern.test(rest));
    if (found !== undefined) return `RE2 has no ${found[1]}`;
    const repeat = /^\{(\d+)(?:(,)(\d*))?\}/.exec(rest);
    if (repeat !== null) {
      const [all, least, comma, most] = repeat;
      const times = Number(comma === undefined || most === "" ? least : most) || 1;
      if (times > MAX_REPEAT) return `RE2 has no repetition beyond ${MAX_REPEAT}`;
      if (atom * times > MAX_REPEAT) return `RE2 has no nested repetitions that multiply to more than ${MAX_REPEAT}`;
      take(atom * times);
      index += all.length;
    } else if (rest.startsWith("\\")) {
      const problem = escapeProblem(rest);
      if (problem !== undefined) return problem;
      take(1);
      index += escapeLength(rest);
    } else if (rest.startsWith("[")) {
      const end = classEnd(rest);
      if (typeof end === "string") return end;
      take(1);
      index += end;
    } else {
      if (rest.startsWith("(")) groups.push(1);
      else if (rest.startsWith(")")) take(groups.length > 1 ? (groups.pop() ?? 1) : 1);
      else if (!/^[*+?]/.test(rest)) take(1);
      index += 1;
    }
  }
  return undefined;
}

/** The length of the character class that the text begins with, or what is wrong with it. */
function classEnd(text: string): number | string {
  // A ] at its very beginning is one of its characters.
  let index = /^\[\^?\]?/.exec(text)?.[0].length ?? 1;
  while (index < text.length) {
    const rest = text.slice(index);
    if (rest.startsWith("]")) return index + 1;
    const named = /^\[:\^?\w+:\]/.exec(rest)?.[0];
    if (named !== undefined && !POSIX_CLASS.test(rest)) return `RE2 has no class ${named}`;
    const problem = rest.startsWith("\\") ? escapeProblem(rest) : undefined;
    if (problem !== undefined) return problem;
    index += named?.length ?? (rest.startsWith("\\") ? escapeLength(rest) : 1);
  }
  return "a character class has no end";
}

/** `\x{2028}` and `\p{Greek}` are one escape: their braces count nothing. */
function escapeLength(text: string): number {
  return /^\\[xpP]\{[^}]*\}/.exec(text)?.[0].length ?? 2;
}

function escapeProblem(text: string): string | undefined {
  if (UNKNOWN_ESCAPE.test(text)) return `RE2 has no escape ${text.slice(0, 2)}`;
  if (!/^\\[pP]/.test(text)) return undefined;
  const name = /^\\[pP](?:\{\^?(\w+)\}|([A-Z]))/.exec(text);
  const isKnown = name !== null && (CATEGORY.test(name[1] ?? name[2] ?? "") || isScript(name[1]));
  return isKnown ? undefined : `RE2 has no class ${/^\\[pP](?:\{[^}]*\}?|.?)/.exec(text)?.[0] ?? ""}`;
}

function isScript(name: string | undefined): boolean {
  if (name === undefined || !/^[A-Z][a-z]\w+$/.test(name)) return false;
  try {
    RegExp(`\\p{Script=${name}}`, "u");
    return true;
  } catch {
    return false;
  }
}
