/** The plain-data form of HTTP routing. Durations are milliseconds, percentages 0 to 100. */

/** One virtual host of one route table; it travels on its own (VHDS). */
export interface VirtualHostIr {
  readonly port: number;
  /** Where its connections go to: virtual addresses, or others (`outside`). Each port has a route table for either. */
  readonly reach: "mesh" | "outside";
  /** Unique in its table, without a slash: the service's `hostname:port`. */
  readonly name: string;
  /** Sorted, unique in the table. */
  readonly domains: readonly string[];
  /** First match wins. */
  readonly routes: readonly RouteIr[];
}

export interface RouteIr {
  /** Where it comes from, for `proxy-config` and NACKs: `VirtualService default/reviews http[0]`; empty for a default route. */
  readonly name: string;
  readonly match: RouteMatchIr;
  readonly action: RouteActionIr;
  readonly fault?: FaultIr;
  readonly headers: HeaderOperationsIr;
  readonly cors?: CorsIr;
}

/** All that is present must hold. */
export interface RouteMatchIr {
  readonly path: StringMatchIr;
  readonly ignorePathCase: boolean;
  /** Header names in lower case; `:method`, `:authority` and `:scheme` are headers too. */
  readonly headers: readonly HeaderMatchIr[];
  readonly queryParams: readonly { readonly name: string; readonly match: StringMatchIr | "present" }[];
}

export type StringMatchIr =
  | { readonly kind: "exact"; readonly value: string }
  | { readonly kind: "prefix"; readonly value: string }
  /** RE2, matched against the whole string. */
  | { readonly kind: "regex"; readonly value: string };

export interface HeaderMatchIr {
  readonly name: string;
  readonly match: StringMatchIr | "present";
  /** Holds where the match does not. */
  readonly inverted: boolean;
}

export type RouteActionIr =
  | {
      readonly kind: "forward";
      /** Weights sum to anything above 0. */
      readonly clusters: readonly WeightedClusterIr[];
      /** 0: no limit. */
      readonly timeoutMs: number;
      readonly retry?: RetryIr;
      readonly rewrite?: RewriteIr;
      readonly mirrors: readonly { readonly cluster: string; readonly percentage: number }[];
    }
  | {
      readonly kind: "redirect";
      readonly authority?: string;
      readonly path?: string;
      readonly scheme?: string;
      readonly port?: number;
      readonly code: 301 | 302 | 303 | 307 | 308;
    }
  | { readonly kind: "direct-response"; readonly status: number; readonly body: string };

export interface WeightedClusterIr {
  readonly cluster: string;
  readonly weight: number;
  readonly headers: HeaderOperationsIr;
}

export interface RetryIr {
  readonly attempts: number;
  /** Envoy's `retry_on` words. */
  readonly retryOn: readonly string[];
  readonly retriableStatusCodes: readonly number[];
  readonly perTryTimeoutMs?: number;
  readonly backoffMs?: number;
}

export interface RewriteIr {
  /** Replaces the matched prefix (or the whole path of an exact match). */
  readonly uri?: string;
  readonly authority?: string;
}

export interface FaultIr {
  readonly delay?: { readonly fixedDelayMs: number; readonly percentage: number };
  readonly abort?: { readonly percentage: number } & (
    | { readonly httpStatus: number }
    | { readonly grpcStatus: number }
  );
}

export interface HeaderOperationsIr {
  readonly request: HeaderChangesIr;
  readonly response: HeaderChangesIr;
}

export interface HeaderChangesIr {
  readonly set: Readonly<Record<string, string>>;
  readonly add: Readonly<Record<string, string>>;
  readonly remove: readonly string[];
}

export interface CorsIr {
  readonly allowOrigins: readonly StringMatchIr[];
  readonly allowMethods: readonly string[];
  readonly allowHeaders: readonly string[];
  readonly exposeHeaders: readonly string[];
  readonly maxAgeSeconds?: number;
  readonly allowCredentials?: boolean;
}

export const NO_HEADER_CHANGES: HeaderChangesIr = { set: {}, add: {}, remove: [] };
export const NO_HEADER_OPERATIONS: HeaderOperationsIr = { request: NO_HEADER_CHANGES, response: NO_HEADER_CHANGES };
