import { isMap, isNode, isScalar, LineCounter, parseDocument } from "yaml";
import type { Document, Node } from "yaml";
import type { z } from "zod";

import type { Issue, SourcePosition } from "../base/issue.ts";
import { err, ok } from "../base/result.ts";
import type { Result } from "../base/result.ts";

type Path = readonly PropertyKey[];

/** Codes of issues with the agent's own file. */
export const CONFIG_ISSUE = { syntax: "IM0901", unknownField: "IM0902", badValue: "IM0903", conflict: "IM0904" } as const;

/** One YAML document and where its parts stand. */
export interface YamlSource {
  readonly data: unknown;
  issuesOf(error: z.ZodError): readonly Issue[];
  issueAt(path: Path, message: string, remedy: string): Issue;
}

/** Reads one YAML 1.2 document; duplicate keys, several documents and broken syntax are issues. */
export function readYaml(text: string, file: string): Result<YamlSource, readonly Issue[]> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const positionAt = (offset: number): SourcePosition => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  if (document.errors.length > 0) {
    return err(
      document.errors.map((error): Issue => ({
        code: CONFIG_ISSUE.syntax,
        severity: "error",
        path: "",
        message: lowerFirst(error.message),
        position: positionAt(error.pos[0]),
      })),
    );
  }
  const at = (path: Path): { readonly position?: SourcePosition } => {
    const offset = offsetOf(document, path);
    return { position: offset === undefined ? { file, line: 1, column: 1 } : positionAt(offset) };
  };
  return ok({
    data: document.toJS({ maxAliasCount: 100 }),
    issueAt: (path, message, remedy) => ({ code: CONFIG_ISSUE.conflict, severity: "error", path: formatPath(path), message, remedy, ...at(path) }),
    issuesOf: (error) => error.issues.flatMap((issue) => issuesOfOne(issue, at, document)),
  });
}

function issuesOfOne(issue: z.core.$ZodIssue, at: (path: Path) => { readonly position?: SourcePosition }, document: Document): Issue[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const path = [...issue.path, key];
      const guess = closest(key, KNOWN_FIELDS);
      return {
        code: CONFIG_ISSUE.unknownField,
        severity: "error",
        path: formatPath(path),
        message: "unknown field",
        remedy: guess === undefined ? "remove it, or see docs/reference/agent-config.md" : `did you mean ${guess}?`,
        ...at(path),
      };
    });
  }
  if (issue.code === "invalid_union") {
    // Several shapes are allowed: what the shape that came nearest says is the most useful.
    const nested = issue.errors.toSorted((a, b) => depth(b) - depth(a))[0] ?? [];
    const flat = nested.map((one): z.core.$ZodIssue => ({ ...one, path: [...issue.path, ...one.path] }));
    if (flat.length > 0) return flat.flatMap((one) => issuesOfOne(one, at, document));
  }
  const found = document.getIn(issue.path, false);
  const missing = found === undefined && issue.path.length > 0;
  return [
    {
      code: CONFIG_ISSUE.badValue,
      severity: "error",
      path: formatPath(issue.path),
      message: missing ? "is missing" : lowerFirst(issue.message),
      ...(missing ? { remedy: "add it; docs/reference/agent-config.md has an example" } : {}),
      ...at(issue.path),
    },
  ];
}

function depth(issues: readonly z.core.$ZodIssue[]): number {
  // A wrong type says nothing about a value's content: another shape's complaint is preferred.
  return Math.max(0, ...issues.map((issue) => issue.path.length * 2 + (issue.code === "invalid_type" ? 0 : 1)));
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

/** Every field name of the file, for "did you mean". A test holds it against the schema. */
export const KNOWN_FIELDS: readonly string[] = [
  "hostName", "controlPlane", "address", "joinTokenFile", "stateDir", "runDir", "locality", "addresses",
  "workloads", "name", "group", "bind", "uid", "systemdUnit", "cgroup", "ports",
  "envoy", "path", "user", "concurrency", "maxConnections", "drainSeconds", "logLevel",
  "capture", "mode", "backend", "outbound", "scope", "excludePorts", "excludeCidrs", "inbound",
  "dns", "port", "upstreams", "outboundRange", "status", "readiness",
  "probes", "allowExec", "execUser", "log", "level",
];

function closest(word: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates.map((candidate) => ({ candidate, distance: editDistance(word.toLowerCase(), candidate.toLowerCase()) }));
  const best = ranked.toSorted((a, b) => a.distance - b.distance)[0];
  return best !== undefined && best.distance <= Math.max(1, Math.floor(word.length / 3)) ? best.candidate : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, left] of a.split("").entries()) {
    const next = [i + 1];
    for (const [j, right] of b.split("").entries()) {
      next.push(Math.min((next[j] ?? 0) + 1, (row[j + 1] ?? 0) + 1, (row[j] ?? 0) + (left === right ? 0 : 1)));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
