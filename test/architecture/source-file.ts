import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { parseSync } from "oxc-parser";

/** One import, export-from, `import()`, `import("…")` type or `require` of a file. */
export interface SourceImport {
  /** As written; undefined where it is computed, so that nobody can judge it. */
  readonly specifier: string | undefined;
  /** Counts from 1. */
  readonly line: number;
}

/** What the rules need to know of a file. Paths are relative to the repository, with slashes. */
export interface SourceFile {
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly SourceImport[];
  readonly hasDefaultExport: boolean;
  /** It re-exports everything of another file, or does nothing but re-export. */
  readonly isBarrel: boolean;
  /** `describe.only`, `it.skip`, `xit`, …: a test that silences tests. */
  readonly silencedTests: readonly number[];
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly [field: string]: unknown;
}

const root = join(import.meta.dirname, "..", "..");
const SILENCERS = ["only", "skip"];
const SILENT_CALLS = ["xcontext", "xdescribe", "xit", "xspecify"];
const TEST_CALLS = ["context", "describe", "it", "specify", "suite", "test"];

let sourceFiles: readonly SourceFile[] | undefined;

/** Every TypeScript file that git tracks or would track, parsed once per process. */
export function readSourceFiles(): readonly SourceFile[] {
  sourceFiles ??= parseAll();
  return sourceFiles;
}

function parseAll(): readonly SourceFile[] {
  const listed = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "*.ts"], { cwd: root, encoding: "utf8" });
  return listed
    .split("\0")
    .filter((path) => path !== "" && existsSync(join(root, path)))
    .sort()
    .map((path) => parseSourceFile(path, readFileSync(join(root, path), "utf8")));
}

export function parseSourceFile(path: string, text: string): SourceFile {
  const parsed = parseSync(path, text);
  const problem = parsed.errors[0];
  if (problem !== undefined) throw new Error(`${path} does not parse: ${problem.message}`);
  const nodes = [...nodesBelow(parsed.program)];
  const lineOf = (node: Node): number => text.slice(0, node.start).split("\n").length;
  return {
    path,
    lines: text.split("\n").length - (text.endsWith("\n") ? 1 : 0),
    imports: nodes.filter(isImport).map((node) => ({ specifier: specifierOf(node), line: lineOf(node) })),
    hasDefaultExport: nodes.some((node) => node.type === "ExportDefaultDeclaration" || node.type === "TSExportAssignment") || exportsNameDefault(nodes),
    isBarrel: isBarrel(parsed.program.body),
    silencedTests: nodes.filter(isSilencedTest).map(lineOf),
  };
}

/** The repository path that a relative import of `path` points at. */
export function targetOf(path: string, specifier: string): string {
  return posix.normalize(posix.join(posix.dirname(path), specifier));
}

/** `@scope/name` or `name` of a package import; `node:…` as it is. */
export function packageOf(specifier: string): string {
  return specifier.startsWith("node:") ? specifier : specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
}

function* nodesBelow(value: unknown): Generator<Node> {
  if (Array.isArray(value)) {
    for (const each of value) yield* nodesBelow(each);
  } else if (isNode(value)) {
    yield value;
    for (const each of Object.values(value)) if (typeof each === "object") yield* nodesBelow(each);
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

function isImport(node: Node): boolean {
  switch (node.type) {
    case "ImportDeclaration":
    case "ExportAllDeclaration":
    case "ImportExpression":
    case "TSImportType":
    case "TSExternalModuleReference":
      return true;
    case "ExportNamedDeclaration":
      return isNode(node["source"]);
    case "CallExpression":
      return isNode(node["callee"]) && node["callee"]["type"] === "Identifier" && node["callee"]["name"] === "require";
    default:
      return false;
  }
}

function specifierOf(node: Node): string | undefined {
  const [argument] = Array.isArray(node["arguments"]) ? (node["arguments"] as unknown[]) : [];
  const literal = node["source"] ?? node["argument"] ?? node["expression"] ?? argument;
  const inner = isNode(literal) && literal.type === "TSLiteralType" ? literal["literal"] : literal;
  return isNode(inner) && inner.type === "Literal" && typeof inner["value"] === "string" ? inner["value"] : undefined;
}

function exportsNameDefault(nodes: readonly Node[]): boolean {
  return nodes.some((node) => node.type === "ExportSpecifier" && isNode(node["exported"]) && node["exported"]["name"] === "default");
}

function isBarrel(statements: readonly { readonly type: string }[]): boolean {
  const reExports = statements.filter((each) => isNode(each) && each.type.startsWith("Export") && isNode(each["source"]));
  const others = statements.filter((each) => each.type !== "ImportDeclaration" && !reExports.includes(each));
  return reExports.some((each) => each.type === "ExportAllDeclaration") || (reExports.length > 0 && others.length === 0);
}

function isSilencedTest(node: Node): boolean {
  if (node.type !== "CallExpression" || !isNode(node["callee"])) return false;
  const callee = node["callee"];
  if (callee.type === "Identifier") return SILENT_CALLS.includes(String(callee["name"]));
  if (callee.type !== "MemberExpression" || !isNode(callee["object"]) || !isNode(callee["property"])) return false;
  return TEST_CALLS.includes(String(callee["object"]["name"])) && SILENCERS.includes(String(callee["property"]["name"]));
}
