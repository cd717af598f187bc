import type { Severity } from "../base/issue.ts";
import type { IssueCode } from "./issue-codes.ts";

/** Field names and list indexes from the document's root. */
export type FieldPath = readonly (string | number)[];

/** What a check has to say about a value, wherever that stands. */
export interface Problem {
  readonly code: IssueCode;
  readonly message: string;
  readonly remedy?: string;
}

/** A problem at its place. */
export interface Finding extends Problem {
  readonly path: FieldPath;
  /** Unless told, that of the code. */
  readonly severity?: Severity;
  /** Speaks of the field's name, not its value. */
  readonly atKey?: boolean;
}

export type Report = (finding: Finding) => void;

const PLAIN_NAME = /^[A-Za-z_][\w-]*$/;

/** The path as a user would write it: `spec.http[0].match[1].headers["x-user.id"]`. */
export function formatFieldPath(path: FieldPath): string {
  return path
    .map((part) => {
      if (typeof part === "number") return `[${part}]`;
      return PLAIN_NAME.test(part) ? `.${part}` : `[${JSON.stringify(part)}]`;
    })
    .join("")
    .replace(/^\./, "");
}
