import assert from "node:assert/strict";
import { durationMs, isDuration } from "../../../api/duration.ts";
import { grpcStatusNumber } from "../../../api/grpc-status.ts";
import { headerValueProblem } from "../../../api/header.ts";
import { meshConfigSchema } from "../../../api/mesh-config.ts";
import { faultPercentage, mirrorPercentage } from "../../../api/percentage.ts";
import { policyPattern } from "../../../api/policy-pattern.ts";
import { regexProblem } from "../../../api/regex.ts";
import { parseRetryOn } from "../../../api/retry-on.ts";
import { stringMatch } from "../../../api/string-match.ts";
import { nearestName } from "../../../base/suggestion.ts";

describe("values that users write", () => {
  it("durations are milliseconds", () => {
    assert.deepEqual(["1.5s", "1h30m", "200ms", "0s"].map(durationMs), [1_500, 5_400_000, 200, 0]);
    for (const text of ["", "5", "5 s", "-1s", "s", "1d"]) assert.equal(isDuration(text), false, text);
  });

  it("expressions are RE2's", () => {
    for (const good of ["/a/[0-9]+", "(?i)abc", "(?P<name>x)", "(?:a|b){2,1000}", "[[:alpha:]]+", "a\\.b", "[(?=]", "\\pL", "a++b".replace("++", "+"), "\\p{^Greek}", "\\P{Lu}", "[]a]", "\\x{2028}", "(?:(?:x{10}y){10}z){10}", "(?:x{500,}){2,}", "((a*)*)*"]) {
      assert.equal(regexProblem(good), undefined, good);
    }
    for (const bad of ["", "(", "a(?=b)", "(?<!a)b", "(a)\\1", "a++", "(?>a)", "a{1001}", "[", "\\y", "*", "(a{100}){11}", "((a{10,20}b){10}){10}", "(?:x{600,}){2,}", "\\p{Foo}", "\\pF", "\\p", "[[:foo:]]", "[^]", "\\é", "(?<é>a)"]) {
      assert.equal(regexProblem(bad)?.code, "IM0123", bad);
    }
  });

  it("header values hold only commands that Envoy knows", () => {
    for (const good of ["a", "100%%", "%DOWNSTREAM_REMOTE_ADDRESS%", "%REQ(:path)%-x", "%REQ(x-a?x-b):20%", "%START_TIME(s)%", "tab\there", "x".repeat(16_384)]) assert.equal(headerValueProblem(good), undefined, good);
    const misused = ["%REQ%", "%RESP()%", "%REQ(a b)%", "%REQ(a?b?c)%", "%REQ(a):9999999%", "%PROTOCOL(x)%", "%HOSTNAME:3%"];
    for (const bad of ["100%", "%NOPE%", "a\r\nb: c", "\u0000", ...misused]) assert.equal(headerValueProblem(bad)?.code, "IM0124", bad);
    assert.equal(headerValueProblem("x".repeat(16_385))?.code, "IM0121");
  });

  it("normal forms are plain data", () => {
    assert.deepEqual(stringMatch({}), { kind: "present" });
    assert.deepEqual(stringMatch({ exact: "" }), { kind: "exact", value: "" });
    assert.deepEqual(["*", "a*", "*a", "a"].map((text) => policyPattern(text).kind), ["present", "prefix", "suffix", "exact"]);
    assert.deepEqual(parseRetryOn("5xx, 409"), { conditions: ["5xx", "retriable-status-codes"], statusCodes: [409] });
    assert.deepEqual(["UNAVAILABLE", "14", "17", "x"].map(grpcStatusNumber), [14, 14, undefined, undefined]);
    assert.deepEqual([faultPercentage(undefined), mirrorPercentage(undefined), mirrorPercentage({})], [0, 100, 0]);
  });

  it("suggestions are near, or none", () => {
    assert.equal(nearestName("tiemout", ["timeout", "retries"]), "timeout");
    assert.equal(nearestName("zzz", ["timeout", "retries"]), undefined);
  });

  it("the mesh's settings have their defaults in one place, and no unknown ones", () => {
    assert.equal(meshConfigSchema.parse({}).rootNamespace, "ironmesh-system");
    for (const bad of [{ domian: "x" }, { vipRanges: ["10.0.0.0/40", "2001:2::/48"] }, { domain: "Upper" }]) {
      assert.equal(meshConfigSchema.safeParse(bad).success, false);
    }
  });
});
