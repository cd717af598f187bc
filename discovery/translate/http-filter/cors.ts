import { CorsPolicySchema, CorsSchema } from "../../../proto/gen/envoy/extensions/filters/http/cors/v3/cors_pb.js";
import { pack } from "../resource.ts";
import { stringMatcher } from "../string-matcher.ts";
import type { HttpFilterTranslation } from "./http-filter.ts";

/** Answers CORS preflights for routes with a `corsPolicy`. */
export const CORS: HttpFilterTranslation = {
  name: "envoy.filters.http.cors",
  outbound: () => pack(CorsSchema, {}),
  outboundRoute: ({ cors }) =>
    cors === undefined
      ? undefined
      : pack(CorsPolicySchema, {
          allowOriginStringMatch: cors.allowOrigins.map((origin) => stringMatcher(origin)),
          allowMethods: cors.allowMethods.join(","),
          allowHeaders: cors.allowHeaders.join(","),
          exposeHeaders: cors.exposeHeaders.join(","),
          maxAge: cors.maxAgeSeconds === undefined ? "" : String(cors.maxAgeSeconds),
          allowCredentials: cors.allowCredentials,
          // As Istio: a preflight of a stranger goes to the application, which may have its own answer.
          forwardNotMatchingPreflights: true,
          filterEnabled: { defaultValue: { numerator: 100 } },
        }),
};
