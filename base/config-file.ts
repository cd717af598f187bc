import { isMap, isNode, isScalar, LineCounter, type Document, type Node, parseDocument } from "yaml";
import { z } from "zod";
import type { Issue, SourcePosition } from "./issue.ts";
import { err, ok, type Result } from "./result.ts";
import { nearestName } from "./suggestion.ts";

type Path = readonly PropertyKey[];

/** Codes of issues with a program's own configuration file. */
export const CONFIG_ISSUE = { syntax: "IM0001", unknownField: "IM0002", badValue: "IM0003", conflict: "IM0004" } as const;

/** What no single field shows. */
export type ConfigConflict = readonly [path: Path, message: string, remedy: string];

/** One program's configuration file. */
export interface ConfigFile<T> {
  /** Strict: what it does not know is an issue. */
  readonly schema: z.ZodType<T>;
  /** The page that lists its fields. */
  readonly reference: string;
  readonly conflicts?: (value: T) => readonly ConfigConflict[];
}

/**
 * Reads one YAML 1.2 document against a strict schema. All issues are
 * collected, each with the line and column of the field that it speaks of.
 *
 * @param name of the file, to show; it is not opened
 */
export function parseConfigFile<T>(file: ConfigFile<T>, text: string, name: string): Result<T, readonly Issue[]> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const positionAt = (offset: number): SourcePosition => {
    const { line, col } = lines.linePos(offset);
    return { file: name, line: Math.max(1, line), column: Math.max(1, col) };
  };
  const issue = (code: string, path: Path, message: string, remedy?: string): Issue => {
    const position = positionAt(offsetOf(document, path) ?? 0);
    return { code, severity: "error", path: formatPath(path), message, position, ...(remedy === undefined ? {} : { remedy }) };
  };
  if (document.errors.length > 0) {
    return err(document.errors.map((error): Issue => ({ ...issue(CONFIG_ISSUE.syntax, [], lowerFirst(error.message)), position: positionAt(error.pos[0]) })));
  }
  const parsed = file.schema.safeParse(document.toJS({ maxAliasCount: 100 }) ?? {});
  if (!parsed.success) return err(parsed.error.issues.flatMap((one) => explain(one, { file, document, issue })));
  const conflicts = (file.conflicts?.(parsed.data) ?? []).map(([path, message, remedy]) => issue(CONFIG_ISSUE.conflict, path, message, remedy));
  return conflicts.length === 0 ? ok(parsed.data) : err(conflicts);
}

interface Reading {
  readonly file: Pick<ConfigFile<unknown>, "schema" | "reference">;
  readonly document: Document;
  readonly issue: (code: string, path: Path, message: string, remedy?: string) => Issue;
}

function explain(found: z.core.$ZodIssue, reading: Reading): Issue[] {
  const { file, document, issue } = reading;
  if (found.code === "unrecognized_keys") {
    const names = fieldNames(file.schema);
    return found.keys.map((key) => {
      const meant = nearestName(key, names);
      return issue(CONFIG_ISSUE.unknownField, [...found.path, key], "unknown field", meant === undefined ? `remove it, or see ${file.reference}` : `did you mean ${meant}?`);
    });
  }
  if (found.code === "invalid_union") {
    // Several shapes are allowed: what the shape that came nearest says is the most useful.
    const nested = found.errors.toSorted((a, b) => depth(b) - depth(a))[0] ?? [];
    if (nested.length > 0) return nested.flatMap((one) => explain({ ...one, path: [...found.path, ...one.path] }, reading));
  }
  const isMissing = found.path.length > 0 && document.getIn(found.path, false) === undefined;
  if (isMissing) return [issue(CONFIG_ISSUE.badValue, found.path, "is missing", `add it; ${file.reference} says how`)];
  return [issue(CONFIG_ISSUE.badValue, found.path, lowerFirst(found.message))];
}

function depth(issues: readonly z.core.$ZodIssue[]): number {
  // A wrong type says nothing about a value's content: another shape's complaint is preferred.
  return Math.max(0, ...issues.map((issue) => issue.path.length * 2 + (issue.code === "invalid_type" ? 0 : 1)));
}

/** Every field's name, at whatever depth: what somebody may have meant. */
function fieldNames(schema: z.ZodType): string[] {
  const names = new Set<string>();
  const walk = (node: unknown): void => {
    if (typeof node !== "object" || node === null) return;
    for (const name of Object.keys((node as { properties?: object }).properties ?? {})) names.add(name);
    for (const child of Object.values(node)) walk(child);
  };
  walk(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }));
  return [...names];
}

/** Where a path stands: at its key where it has one, at the nearest part that exists where it has none. */
function offsetOf(document: Document, path: Path): number | undefined {
  let node: unknown = document.contents;
  let offset = isNode(node) ? node.range?.[0] : undefined;
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === step);
      if (pair === undefined) return offset;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value;
    } else {
      node = typeof step === "number" && isNode(node) && "get" in node ? (node as { get(key: number, keep: true): unknown }).get(step, true) : undefined;
      if (!isNode(node)) return offset;
      offset = node.range?.[0] ?? offset;
    }
  }
  return offset;
}

/** `workloads[0].bind.uid` */
function formatPath(path: Path): string {
  return path.map((step, index) => (typeof step === "number" ? `[${step}]` : `${index === 0 ? "" : "."}${String(step)}`)).join("");
}

function lowerFirst(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}
