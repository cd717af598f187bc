import type {
  HeaderMatcherSchema,
  QueryParameterMatcherSchema,
  RouteMatchSchema,
} from "../../proto/gen/envoy/config/route/v3/route_components_pb.js";
import type { HeaderMatchIr, RouteMatchIr, StringMatchIr } from "../ir/route.ts";
import { stringMatcher } from "./string-matcher.ts";
import type { Init } from "./resource.ts";

type RouteMatchInit = Init<typeof RouteMatchSchema>;

export function routeMatch(match: RouteMatchIr): RouteMatchInit {
  return {
    pathSpecifier: pathSpecifier(match.path),
    caseSensitive: !match.ignorePathCase,
    headers: match.headers.map(headerMatcher),
    queryParameters: match.queryParams.map(queryMatcher),
  };
}

function pathSpecifier(path: StringMatchIr): NonNullable<RouteMatchInit["pathSpecifier"]> {
  switch (path.kind) {
    case "exact":
      return { case: "path", value: path.value };
    case "prefix":
      return { case: "prefix", value: path.value };
    case "regex":
      return { case: "safeRegex", value: { regex: path.value } };
  }
}

function headerMatcher({ name, match, inverted }: HeaderMatchIr): Init<typeof HeaderMatcherSchema> {
  if (match === "present") {
    return { name, invertMatch: inverted, headerMatchSpecifier: { case: "presentMatch", value: true } };
  }
  return {
    name,
    invertMatch: inverted,
    // Without it, a header that is missing fails even an inverted match.
    treatMissingHeaderAsEmpty: inverted,
    headerMatchSpecifier: { case: "stringMatch", value: stringMatcher(match) },
  };
}

function queryMatcher({ name, match }: RouteMatchIr["queryParams"][number]): Init<typeof QueryParameterMatcherSchema> {
  return {
    name,
    queryParameterMatchSpecifier:
      match === "present"
        ? { case: "presentMatch", value: true }
        : { case: "stringMatch", value: stringMatcher(match) },
  };
}
