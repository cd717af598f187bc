import type { Issue, SourcePosition } from "../../base/issue.ts";

/**
 * `accepted`; `warning`: in force, with something to look at; `rejected`: the
 * last good value is in force, where there ever was one; `conflict`: in force,
 * and defined a second time elsewhere.
 */
export type ConfigState = "accepted" | "warning" | "rejected" | "conflict";

/** What became of one resource that somebody wrote. */
export interface ConfigStatus {
  /** Empty, like namespace and name, for a document or file that names no resource. */
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** `files`, `store`, `kubernetes`. */
  readonly origin: string;
  readonly state: ConfigState;
  readonly position: SourcePosition;
  readonly issues: readonly Issue[];
  /** Milliseconds since the epoch from when the value in force was accepted; null where nothing is in force. */
  readonly inForceSinceMs: number | null;
}

/** The statuses with what the analysis of all resources together found: warnings, none of which rejects. */
export function withFindings(
  statuses: ReadonlyMap<string, ConfigStatus>,
  findings: ReadonlyMap<string, readonly Issue[]>,
): ReadonlyMap<string, ConfigStatus> {
  return new Map(
    [...statuses].map(([key, status]) => {
      const found = findings.get(key);
      if (found === undefined || found.length === 0) return [key, status];
      const state: ConfigState = status.state === "accepted" ? "warning" : status.state;
      return [key, { ...status, state, issues: [...status.issues, ...found] }];
    }),
  );
}
