import assert from "node:assert/strict";
import fc from "fast-check";
import { stringify } from "yaml";
import { parseDocuments, parseDocumentValue } from "../../../api/document.ts";
import { kindNamed, kinds } from "../../../api/kinds.ts";
import { formatIssue } from "../../../base/issue.ts";

const entry = (name: string): string => `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}}\nspec: {address: 192.0.2.1}\n`;

describe("documents", () => {
  it("places an unknown field at its name, with what was meant", () => {
    const text = "# comment\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a}\nspec:\n  address: 192.0.2.1\n  wieght: 3\n";
    const { issues } = parseDocuments(text, "hosts/a.yaml", "files");
    assert.deepEqual(issues.map(formatIssue), ["hosts/a.yaml:7:3: error IM0110 spec.wieght: unknown field wieght (did you mean weight?)"]);
  });

  it("keeps the good documents of a file with bad ones, and knows what the bad ones are about", () => {
    const { documents, resources } = parseDocuments(`${entry("a")}---\n${entry("b").replace("address", "adress")}---\n---\nkind: [\n`, "x.yaml", "files");
    assert.deepEqual(resources.map(({ metadata }) => metadata.name), ["a"]);
    assert.deepEqual(documents.map(({ key, isUnidentified }) => [key, isUnidentified]), [
      ["WorkloadEntry/default/a", false],
      ["WorkloadEntry/default/b", false],
      [undefined, true],
    ]);
  });

  it("expands lists and places their items' issues", () => {
    const text = `kind: List\napiVersion: v1\nitems:\n- apiVersion: networking.istio.io/v1\n  kind: WorkloadEntry\n  metadata: {name: a}\n  spec:\n    address: nowhere..\n`;
    const [document] = parseDocuments(text, "x.yaml", "files").documents;
    assert.equal(document?.position.line, 4);
    assert.deepEqual(document?.issues.map(({ path, position }) => [path, position?.line, position?.column]), [["spec.address", 8, 14]]);
  });

  it("takes what kubectl writes besides", () => {
    const text = entry("a").replace("{name: a}", "{name: a, namespace: shop, uid: x, creationTimestamp: null, resourceVersion: '3'}") + "status: {}\n";
    const { resources, issues } = parseDocuments(text, "x.yaml", "files");
    assert.deepEqual(issues, []);
    assert.deepEqual(resources[0]?.metadata, { name: "a", namespace: "shop", labels: {}, annotations: {} });
  });

  it("ends a billion laughs, of aliases and of merge keys", () => {
    const levels = (make: (name: string, before: string) => string): string => {
      const lines = ["a0: &a0 {x: y}"];
      for (let level = 1; level < 20; level += 1) lines.push(make(`a${level}`, `*a${level - 1}`));
      return lines.join("\n");
    };
    const bombs = [
      levels((name, before) => `${name}: &${name} [${Array(9).fill(before).join(", ")}]`),
      levels((name, before) => `${name}: &${name} {<<: [${Array(9).fill(before).join(", ")}]}`),
    ];
    for (const bomb of bombs) assert.deepEqual(parseDocuments(bomb, "x.yaml", "files").issues.map(({ code }) => code), ["IM0102"]);
  });

  it("refuses deep nesting", () => {
    for (const text of ["[".repeat(50_000), "- ".repeat(20_000), `a: ${"{a: ".repeat(200)}b${"}".repeat(200)}`]) {
      const { resources, issues } = parseDocuments(text, "x.yaml", "files");
      assert.equal(resources.length, 0);
      assert.ok(issues.length > 0);
    }
  });

  it("judges plain data as it judges text", () => {
    const position = { file: "store", line: 3, column: 1 };
    const good = { apiVersion: "networking.istio.io/v1", kind: "WorkloadEntry", metadata: { name: "a" }, spec: { address: "192.0.2.1" } };
    assert.equal(parseDocumentValue(good, position, "store").resource?.origin, "store");
    assert.deepEqual(parseDocumentValue({ ...good, spec: {} }, position, "store").issues[0]?.position, position);
  });

  it("never throws, and places every issue, whatever the text", () => {
    const words = fc.constantFrom("apiVersion", "kind", ":", " ", "\n", "- ", "VirtualService", "networking.istio.io/v1", "&a", "*a", "<<", "{", "}", "[", "]", "---\n", '"', "'", "|", ">", "!", "%", "#", "\t", "\u0000", "spec", "null", "? ", "__proto__");
    const text = fc.oneof(fc.array(words, { maxLength: 60 }).map((parts) => parts.join("")), fc.string({ unit: "binary" }));
    fc.assert(
      fc.property(text, (written) => {
        const { issues, documents } = parseDocuments(written, "x.yaml", "files");
        assert.ok(issues.every(({ position }) => position !== undefined && position.line >= 1 && position.column >= 1));
        assert.ok(documents.every(({ resource, key }) => resource === undefined || key !== undefined));
      }),
      { numRuns: 500 },
    );
  });

  it("never throws on any data in any field of any kind", () => {
    const value = fc.letrec<{ any: unknown }>((tie) => ({
      any: fc.oneof(
        { depthSize: "small" },
        fc.constantFrom(null, "", "a", "1s", "*", 0, -1, 1.5, true, "10.0.0.0/8"),
        fc.array(tie("any"), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom("match", "route", "http", "destination", "host", "hosts", "weight", "ports", "number", "name", "tls", "rules", "from", "source"), tie("any"), { maxKeys: 4 }),
      ),
    })).any;
    fc.assert(
      fc.property(fc.constantFrom(...kinds), fc.string(), value, (definition, field, written) => {
        const fields = Object.keys(definition.schema.fields);
        const spec = Object.fromEntries([...fields, field].map((name) => [name, written]));
        const apiVersion = definition.group === "" ? "v1" : `${definition.group}/v1`;
        const { issues } = parseDocuments(stringify({ apiVersion, kind: definition.kind, metadata: { name: "a" }, spec }), "x.yaml", "files");
        assert.ok(issues.length > 0);
      }),
      { numRuns: 300 },
    );
  });
});

describe("kinds", () => {
  it("are found by every name that the command line takes", () => {
    for (const word of ["vs", "virtualservice", "VirtualServices"]) assert.equal(kindNamed(word)?.kind, "VirtualService");
    assert.equal(kindNamed("pods"), undefined);
    const names = kinds.flatMap(({ kind, plural, shortNames }) => [kind.toLowerCase(), plural, ...shortNames]);
    assert.equal(new Set(names).size, names.length);
  });
});
