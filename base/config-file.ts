import { isMap, LineCounter, type Document, parseDocument } from "yaml";
import type { z } from "zod";
import type { Issue, SourcePosition } from "./issue.ts";
import { err, ok, type Result } from "./result.ts";

/** The codes under which a configuration file's issues are reported. */
export interface ConfigFileCodes {
  /** The file is not YAML. */
  readonly syntax: string;
  /** A field is unknown, missing or of the wrong type. */
  readonly field: string;
}

/**
 * Reads one YAML configuration file against a strict schema. All issues are
 * collected, each with the line and column of the field that it speaks of.
 *
 * @param file the name to show, not opened
 */
export function parseConfigFile<T>(schema: z.ZodType<T>, text: string, file: string, codes: ConfigFileCodes): Result<T, Issue[]> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const at = (offset: number): SourcePosition => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  if (document.errors.length > 0) {
    return err(
      document.errors.map((error) => ({
        code: codes.syntax,
        severity: "error",
        message: (error.message.split(" at line ")[0] ?? error.message).trim(),
        path: "",
        position: at(error.pos[0]),
      })),
    );
  }
  const parsed = schema.safeParse(document.toJS({ maxAliasCount: 100 }) ?? {});
  if (parsed.success) return ok(parsed.data);
  return err(parsed.error.issues.flatMap((issue) => toIssues(issue, document, at, codes.field)));
}

/** An issue about unknown keys becomes one issue for each, placed at the key itself. */
function toIssues(
  issue: z.core.$ZodIssue,
  document: Document,
  at: (offset: number) => SourcePosition,
  code: string,
): Issue[] {
  const place = (path: readonly PropertyKey[]): Issue["position"] => {
    const offset = offsetOf(document, path);
    return offset === undefined ? undefined : at(offset);
  };
  const make = (path: readonly PropertyKey[], message: string, remedy?: string): Issue => {
    const position = place(path);
    return {
      code,
      severity: "error",
      message,
      path: formatPath(path),
      ...(remedy === undefined ? {} : { remedy }),
      ...(position === undefined ? {} : { position }),
    };
  };
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => make([...issue.path, key], "unknown field", "remove it, or correct its spelling"));
  }
  return [make(issue.path, issue.message.charAt(0).toLowerCase() + issue.message.slice(1))];
}

/** The offset of the deepest part of the path that the document has; a key's own place where it has one. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number | undefined {
  for (let length = path.length; length > 0; length -= 1) {
    const parent: unknown = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true);
    const last = path[length - 1];
    if (isMap(parent)) {
      const pair = parent.items.find((item) => String(item.key) === String(last));
      const key: unknown = pair?.key;
      if (isNode(key)) return key.range[0];
    }
    const node: unknown = document.getIn(path.slice(0, length), true);
    if (isNode(node)) return node.range[0];
  }
  return document.contents?.range?.[0];
}

function isNode(value: unknown): value is { range: [number, number, number] } {
  return typeof value === "object" && value !== null && "range" in value && Array.isArray(value.range);
}

/** `workloads[0].bind.uid` */
function formatPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    return text === "" ? String(part) : `${text}.${String(part)}`;
  }, "");
}
