import type { StringMatcherSchema } from "../../proto/gen/envoy/type/matcher/v3/string_pb.js";
import type { StringPatternIr } from "../ir/authorization.ts";
import type { StringMatchIr } from "../ir/route.ts";
import type { Init } from "./resource.ts";

type StringMatcherInit = Init<typeof StringMatcherSchema>;

/** `present` is any text that is not empty. */
export function stringMatcher(match: StringMatchIr | StringPatternIr): StringMatcherInit {
  switch (match.kind) {
    case "exact":
      return { matchPattern: { case: "exact", value: match.value } };
    case "prefix":
      return { matchPattern: { case: "prefix", value: match.value } };
    case "suffix":
      return { matchPattern: { case: "suffix", value: match.value } };
    case "regex":
      return { matchPattern: { case: "safeRegex", value: { regex: match.value } } };
    case "present":
      return { matchPattern: { case: "safeRegex", value: { regex: ".+" } } };
  }
}

/** Text as a regular expression (RE2) that matches just it. */
export function quoteRegex(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
