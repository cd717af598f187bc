/** How much an issue matters: an `error` rejects the input, a `warning` lets it in and is shown. */
export type Severity = "error" | "warning";

/** Where in somebody's file an issue is. Lines and columns count from 1; line 0: what is named has no lines. */
export interface SourcePosition {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/**
 * One finding about something that a user wrote. Every room may report one;
 * all of an input's issues are collected before it is judged.
 */
export interface Issue {
  /** Stable, greppable, listed in docs/errors.md: `IM0101`. */
  readonly code: string;
  readonly severity: Severity;
  /** What is wrong, in words that name the value: lower case, no final period. */
  readonly message: string;
  /** The field as the user writes it: `spec.http[0].retries.attempts`; empty for the whole document. */
  readonly path: string;
  /** What to do about it, when that is known. */
  readonly remedy?: string;
  readonly position?: SourcePosition;
}

/** True where none of the issues rejects the input. */
export function isAcceptable(issues: readonly Issue[]): boolean {
  return issues.every((issue) => issue.severity !== "error");
}

/** `routes.yaml:7`, or the name alone of what has no lines. */
export function formatPlace({ file, line }: SourcePosition): string {
  return line === 0 ? file : `${file}:${line}`;
}

/** One line for a log or a terminal: `routes.yaml:7:3: error IM0101 spec.http[0].tiemout: unknown field (…)`. */
export function formatIssue(issue: Issue): string {
  const { position, severity, code, path, message, remedy } = issue;
  const where = position ? `${formatPlace(position)}${position.line === 0 ? "" : `:${position.column}`}: ` : "";
  const field = path === "" ? "" : ` ${path}:`;
  const hint = remedy === undefined ? "" : ` (${remedy})`;
  return `${where}${severity} ${code}${field} ${message}${hint}`;
}
