import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseSync } from "oxc-parser";
import { kinds } from "../../../api/kinds.ts";
import { fieldRows } from "../../../api/reference.ts";

interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

const COMPOUND = ["TSIntersectionType", "TSUnionType"];

/** All field paths of a TypeScript type, as `fieldRows` writes them. */
function typePaths(type: Node, path: string): string[] {
  if (type.type === "TSTypeLiteral") {
    return (type["members"] as Node[]).flatMap((member) => {
      const inner = (member["typeAnnotation"] as Node)["typeAnnotation"] as Node;
      if (member.type === "TSIndexSignature") return typePaths(inner, `${path}.*`);
      const key = member["key"] as { readonly value?: string; readonly name?: string };
      const at = `${path}.${key.value ?? key.name ?? ""}`;
      return [at, ...typePaths(inner, at)];
    });
  }
  if (type.type === "TSTypeReference" && (type["typeName"] as { name?: string }).name === "Array") {
    return typePaths((type["typeArguments"] as { params: Node[] }).params[0] as Node, `${path}[]`);
  }
  // The library writes a oneOf as an intersection with unions of the same fields.
  if (COMPOUND.includes(type.type)) return [...new Set((type["types"] as Node[]).flatMap((part) => typePaths(part, path)))];
  if (type.type === "TSParenthesizedType") return typePaths(type["typeAnnotation"] as Node, path);
  return [];
}

function istioPaths(group: string, kind: string): Set<string> {
  const url = import.meta.resolve(`@kubernetes-models/istio/${group}/v1/${kind}`);
  const source = readFileSync(new URL(url.replace(/\.js$/, ".d.ts")), "utf8");
  const { body } = parseSync(`${kind}.d.ts`, source).program as unknown as { readonly body: Node[] };
  const declared = body.map((statement) => statement["declaration"] as Node | null | undefined).find((node) => node?.type === "TSInterfaceDeclaration");
  assert.ok(declared);
  const members = (declared["body"] as { readonly body: Node[] }).body;
  const spec = members.find((member) => (member["key"] as { readonly value?: string }).value === "spec");
  assert.ok(spec);
  return new Set(typePaths((spec["typeAnnotation"] as Node)["typeAnnotation"] as Node, "spec"));
}

describe("schemas against the one that Istio publishes", () => {
  it("finds the published types", () => {
    assert.ok(createRequire(import.meta.url).resolve("@kubernetes-models/istio/package.json"));
    assert.ok(istioPaths("networking.istio.io", "VirtualService").has("spec.http[].match[].uri.regex"));
  });

  for (const { kind, group, schema } of kinds.filter((definition) => definition.group !== "")) {
    it(`${kind}: every field of Istio's is said to be supported or not, and no field is invented`, () => {
      const published = istioPaths(group, kind);
      const rows = fieldRows(schema, "spec");
      const unsupported = rows.filter((row) => row.support !== "supported").map((row) => row.path);
      const ours = new Set(rows.map((row) => row.path));
      const isKnown = (path: string): boolean => ours.has(path) || unsupported.some((prefix) => path.startsWith(`${prefix}.`) || path.startsWith(`${prefix}[`));
      assert.deepEqual([...published].filter((path) => !isKnown(path)), [], "Istio's, unknown here");
      assert.deepEqual([...ours].filter((path) => !published.has(path)), [], "known here, not Istio's");
    });
  }
});
