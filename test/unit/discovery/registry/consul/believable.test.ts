import assert from "node:assert/strict";
import { judgeAnswer } from "../../../../../discovery/registry/consul/believable.ts";
import type { Observation } from "../../../../../discovery/registry/consul/believable.ts";

function seen(members: string, changes: Partial<Observation> = {}): Observation {
  return {
    members: new Set(members),
    isLeaderKnown: true,
    isFiltered: false,
    isAnonymousUnderDeny: false,
    isBehind: false,
    isReset: false,
    isConfirmed: false,
    ...changes,
  };
}

describe("what is believed of an answer", () => {
  const verdict = (before: Observation | undefined, next: Observation): string => {
    const given = judgeAnswer(before, next);
    return given.kind === "keep" ? given.code : given.kind;
  };

  for (const [what, before, next, wanted] of [
    ["the first content", undefined, seen("ab"), "take"],
    ["that there is nothing", undefined, seen(""), "take"],
    ["growth, from whoever", seen("a"), seen("ab", { isLeaderKnown: false, isReset: true, isFiltered: true }), "take"],
    ["no growth of a server that is behind, without a leader", seen("a"), seen("ab", { isLeaderKnown: false, isBehind: true }), "MESH_REGISTRY_UNAVAILABLE"],
    ["what a server tells that is behind, once confirmed", seen("a"), seen("ab", { isBehind: true }), "confirm"],
    ["others in place of those before, once confirmed", seen("ab"), seen("cd"), "confirm"],
    ["the loss of half", seen("abcd"), seen("ab"), "take"],
    ["the loss of more than half, once confirmed", seen("abcd"), seen("a"), "confirm"],
    ["a confirmed loss", seen("abcd"), seen("", { isConfirmed: true }), "take"],
    ["no loss without a leader", seen("abcd"), seen("abc", { isLeaderKnown: false }), "MESH_REGISTRY_UNAVAILABLE"],
    ["no large loss after a reset, though confirmed", seen("abcd"), seen("a", { isReset: true, isConfirmed: true }), "MESH_REGISTRY_SHRUNK"],
    ["a small loss after a reset", seen("abcd"), seen("abc", { isReset: true }), "take"],
    ["no emptiness under ACLs without a token", undefined, seen("", { isAnonymousUnderDeny: true }), "MESH_REGISTRY_DENIED"],
    ["what anybody may read", undefined, seen("a", { isAnonymousUnderDeny: true }), "take"],
    ["no emptiness that was filtered", undefined, seen("", { isFiltered: true }), "MESH_REGISTRY_DENIED"],
    ["no loss to a token that lost rights", seen("abcd"), seen("abc", { isFiltered: true }), "MESH_REGISTRY_DENIED"],
    ["a loss seen by a token that never saw everything", seen("abcd", { isFiltered: true }), seen("abc", { isFiltered: true }), "take"],
  ] as const) {
    it(`is ${what}`, () => assert.equal(verdict(before, next), wanted));
  }
});
