/**
 * Which instances (or services) an answer names, and what Consul says about the
 * answer; all that is needed to judge whether it may replace the last good one.
 */
export interface Observation {
  readonly members: ReadonlySet<string>;
  readonly isLeaderKnown: boolean;
  readonly isFiltered: boolean;
  /** Rights are denied by default, and the question carried no token. */
  readonly isAnonymousUnderDeny: boolean;
  /** It is, or may be, older than what is known: its index is lower than one that was seen; or, where what is known is of before the start, it lacks some of that, or comes without a leader. */
  readonly isBehind: boolean;
  /** An index is lower than one that was seen: the data is not what it was, unless a leader says otherwise. */
  readonly isReset: boolean;
  /** It comes from a consistent read. */
  readonly isConfirmed: boolean;
}

export type Verdict =
  | { readonly kind: "take" }
  /** Ask the leader first. */
  | { readonly kind: "confirm" }
  /** Keep the last good content. */
  | { readonly kind: "keep"; readonly code: "MESH_REGISTRY_DENIED" | "MESH_REGISTRY_UNAVAILABLE" | "MESH_REGISTRY_SHRUNK"; readonly message: string };

/**
 * Whether an answer is believed. What is older than what is known never is
 * without a leader, growth neither: what it has more may be what was removed
 * since. Otherwise growth and change are. An answer that
 * lost something is held against it: without a leader, or filtered where the
 * one before was not, it is not taken; losing more than half takes a leader's
 * word; and when the server's data was reset, not even that at once, because
 * agents take a minute to register again.
 */
export function judgeAnswer(before: Pick<Observation, "members" | "isFiltered"> | undefined, next: Observation): Verdict {
  const known = before?.members ?? new Set<string>();
  if (next.members.size === 0 && next.isAnonymousUnderDeny) {
    return { kind: "keep", code: "MESH_REGISTRY_DENIED", message: "consul denies by default and no token is configured: an empty answer means nothing" };
  }
  if (next.members.size === 0 && next.isFiltered) {
    return { kind: "keep", code: "MESH_REGISTRY_DENIED", message: "the token may not read what is asked for: consul left everything out" };
  }
  if (next.isBehind && !next.isLeaderKnown) {
    return { kind: "keep", code: "MESH_REGISTRY_UNAVAILABLE", message: "consul has no leader, and this server of it is behind what is known: its answer is not taken" };
  }
  if (next.isBehind) return { kind: "confirm" };
  const lost = [...known].filter((member) => !next.members.has(member)).length;
  if (lost === 0) return { kind: "take" };
  if (!next.isLeaderKnown) {
    return { kind: "keep", code: "MESH_REGISTRY_UNAVAILABLE", message: `consul has no leader: that ${lost} of ${known.size} are gone is not believed` };
  }
  if (next.isFiltered && before?.isFiltered === false) {
    return { kind: "keep", code: "MESH_REGISTRY_DENIED", message: `the token lost rights: consul leaves out ${lost} of ${known.size} or more` };
  }
  if (lost * 2 <= known.size) return { kind: "take" };
  if (!next.isConfirmed) return { kind: "confirm" };
  if (next.isReset) {
    return { kind: "keep", code: "MESH_REGISTRY_SHRUNK", message: `consul's data was reset: that ${lost} of ${known.size} are gone is not believed yet` };
  }
  return { kind: "take" };
}
