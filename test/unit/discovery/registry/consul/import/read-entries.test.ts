import assert from "node:assert/strict";
import type { Issue } from "../../../../../../base/issue.ts";
import { formatIssue } from "../../../../../../base/issue.ts";
import { parseEntryFile } from "../../../../../../discovery/registry/consul/import/entry-file.ts";
import { readConfigEntries } from "../../../../../../discovery/registry/consul/import/read-entries.ts";

function issuesOf(value: unknown): string[] {
  const read = readConfigEntries([{ origin: "entries.json", value }]);
  return read.ok ? [] : read.error.map(formatIssue);
}

function problemOf(text: string): Issue | undefined {
  const read = parseEntryFile(text, "entries.json");
  return read.ok ? undefined : read.error;
}

describe("consul import: config entries", () => {
  it("reads one entry, a list, and several behind each other", () => {
    const one = JSON.stringify({ Kind: "service-router", Name: "a" }, undefined, 4);
    const two = JSON.stringify({ Kind: "service-router", Name: "b" }, undefined, 4);
    for (const [text, names] of [[one, ["a"]], [`[${one},${two}]`, ["a", "b"]], [`${one}\n${two}\n`, ["a", "b"]], [`[${one}]\n[${two}]`, ["a", "b"]]] as const) {
      const file = parseEntryFile(text, "entries.json");
      assert.ok(file.ok);
      const read = readConfigEntries(file.value);
      assert.ok(read.ok);
      assert.deepEqual([...read.value.routers.keys()], names);
    }
  });

  it("names the file of what is not JSON", () => {
    for (const text of ["", "Kind = \"service-router\"", "{\"Kind\": \"service-router\",", "{}\n{", "\u0000", "{\n}\n{ bad }"]) {
      const problem = problemOf(text);
      assert.deepEqual([problem?.code, problem?.path], ["IM0601", "entries.json"], JSON.stringify(text));
      assert.match(problem?.remedy ?? "", /consul config read/);
    }
  });

  it("names what is no entry, and how it should be given", () => {
    for (const value of [null, 1, "x", [null], [[]], {}, { Name: "a" }, { Kind: 1 }]) {
      const [text, ...others] = issuesOf(value);
      assert.match(text ?? "", /IM0602 entries\.json(\[0\])?: is not a config entry: it has no Kind \(give what `consul config read`/, JSON.stringify(value));
      assert.deepEqual(others, []);
    }
    assert.match(issuesOf({ kind: "service-router", name: "a" })[0] ?? "", /written as for `consul config write`/);
  });

  it("names the entry and field of every wrong value", () => {
    const issues = issuesOf([
      { Kind: "service-router", Name: "web", Routes: [{ Match: { HTTP: { PathExact: 7, Header: [{ Present: true }] } }, Destination: { RequestTimeout: "soon", NumRetries: -1 } }] },
      { Kind: "service-splitter", Name: "web", Splits: [{ Weight: 101 }] },
      { Kind: "service-intentions", Name: "web", Sources: [{ Name: "a", Action: "permit" }] },
      { Kind: "service-resolver", Routes: [] },
      { Kind: "service-defaults", Name: "db", MutualTLSMode: "always" },
    ]);
    const places = ["[0]: service-router web Routes[0].Match.HTTP.PathExact", "[0]: service-router web Routes[0].Match.HTTP.Header[0].Name", "[0]: service-router web Routes[0].Destination.RequestTimeout",
      "[0]: service-router web Routes[0].Destination.NumRetries", "[1]: service-splitter web Splits[0].Weight", "[2]: service-intentions web Sources[0].Action", "[3]: service-resolver  Name", "[4]: service-defaults db MutualTLSMode"];
    for (const place of places) assert.ok(issues.some((issue) => issue.includes(`IM0603 entries.json${place}:`)), `${place} is not among\n${issues.join("\n")}`);
    assert.equal(issues.length, places.length);
  });

  it("refuses an entry that is there twice", () => {
    assert.match(issuesOf([{ Kind: "service-router", Name: "a" }, { Kind: "service-router", Name: "a" }])[0] ?? "", /IM0604 entries\.json\[1\] Name: service-router a is there twice, also in entries\.json\[0\]/);
  });

  it("refuses what is nested without end", () => {
    const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    assert.match(issuesOf({ Kind: "service-defaults", Name: "a", Expose: JSON.parse(deep) as unknown })[0] ?? "", /nested deeper than 50/);
  });

  it("misses no field, known or not, and takes what is empty for unset", () => {
    const read = readConfigEntries([{ origin: "x", value: [
      { Kind: "service-defaults", Name: "a", Protocol: "http", TransparentProxy: {}, MeshGateway: { Mode: "" }, Expose: {}, RateLimits: { InstanceLevel: { RequestsPerSecond: 3 } }, New: { Thing: [{ On: true, Off: false }] } },
      { Kind: "service-resolver", Name: "a", Subsets: { v1: { Filter: "", Odd: 1 } }, Failover: {} },
    ] }]);
    assert.ok(read.ok);
    assert.deepEqual(read.value.findings.map(({ entry, path, message }) => [entry, path, message]), [
      ["service-defaults a", "RateLimits", "it is left out"],
      ["service-defaults a", "New.Thing[0].On", "the import does not know the field"],
      ["service-resolver a", "Subsets[\"v1\"].Odd", "the import does not know the field"],
    ]);
  });

  it("names kinds that are not translated, and guesses what a misspelt one means", () => {
    const read = readConfigEntries([{ origin: "x", value: [{ Kind: "mesh" }, { Kind: "ingress-gateway", Name: "in" }, { Kind: "service-ruoter", Name: "a" }, { Kind: "toString", Name: "b" }] }]);
    assert.ok(read.ok);
    assert.deepEqual(read.value.findings.map(({ entry, effect }) => [entry, effect]), [["mesh mesh", "lost"], ["ingress-gateway in", "lost"], ["service-ruoter a", "lost"], ["toString b", "lost"]]);
    assert.equal(read.value.findings[2]?.remedy, "did you mean service-router?");
  });
});
