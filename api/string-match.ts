import type { Problem } from "./finding.ts";
import { map, object, text, type ObjectSchema, type Schema } from "./schema.ts";
import { matchedHeaderProblem } from "./header.ts";
import { exclusive } from "./rules.ts";
import { regex, textProblem, words } from "./text.ts";

/** A match as plain data; `present` asks only that there is something. */
export type StringMatch =
  | { readonly kind: "exact" | "prefix" | "regex"; readonly value: string }
  | { readonly kind: "present" };

/** Istio's StringMatch, as written. */
export interface WrittenStringMatch {
  readonly exact?: string;
  readonly prefix?: string;
  readonly regex?: string;
}

/** `{}` asks only for presence, which Istio takes for headers and query parameters. */
export function stringMatch(written: WrittenStringMatch): StringMatch {
  if (written.exact !== undefined) return { kind: "exact", value: written.exact };
  if (written.prefix !== undefined) return { kind: "prefix", value: written.prefix };
  if (written.regex !== undefined) return { kind: "regex", value: written.regex };
  return { kind: "present" };
}

/** Exactly one of exact, prefix, regex. */
export const match: ObjectSchema = object({ exact: text("text"), prefix: words, regex }, exclusive(["exact", "prefix", "regex"], { isRequired: true }));
/** `{}` too: the thing is there. */
export const matchOrPresent: ObjectSchema = object({ exact: text("text"), prefix: words, regex }, exclusive(["exact", "prefix", "regex"], { isRequired: false }));

export const headerMatches: Schema = map(matchedHeaderProblem, matchOrPresent);
export const queryMatches: Schema = map(queryNameProblem, matchOrPresent);

/** Envoy refuses a longer one, and with it the whole route. */
const MAX_QUERY_NAME_BYTES = 1_024;

function queryNameProblem(name: string): Problem | undefined {
  if (Buffer.byteLength(name) <= MAX_QUERY_NAME_BYTES) return textProblem(name);
  return { code: "IM0121", message: `is longer than ${MAX_QUERY_NAME_BYTES} bytes` };
}
