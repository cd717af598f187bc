import { type ParsedDocument, parseDocumentValue } from "../../api/document.ts";
import type { AnyResource } from "../../api/resource.ts";
import type { SourcePosition } from "../../base/issue.ts";

/** How a resource is kept in the state store: what the user wrote, and where. */
interface Stored {
  readonly document: unknown;
  readonly position: SourcePosition;
  readonly origin: string;
  readonly confinedTo?: string;
}

export function encodeResource({ apiVersion, kind, metadata, spec, position, origin, confinedTo }: AnyResource): string {
  const stored: Stored = { document: { apiVersion, kind, metadata, spec }, position, origin, ...(confinedTo === undefined ? {} : { confinedTo }) };
  return JSON.stringify(stored);
}

/**
 * Reads what `encodeResource` wrote and judges it anew: it may have been
 * accepted by an older version. Text that is not of that form is a document
 * with issues, like any other bad input.
 *
 * @param name shown as the file where the text does not say one
 */
export function decodeResource(text: string, name: string): ParsedDocument {
  const nowhere: SourcePosition = { file: name, line: 1, column: 1 };
  let stored: Partial<Stored> | null;
  try {
    stored = JSON.parse(text) as Partial<Stored> | null;
  } catch {
    stored = null;
  }
  const position = isPosition(stored?.position) ? stored.position : nowhere;
  const parsed = parseDocumentValue(stored?.document, position, typeof stored?.origin === "string" ? stored.origin : "store");
  const confinedTo = stored?.confinedTo;
  return parsed.resource === undefined || typeof confinedTo !== "string" ? parsed : { ...parsed, resource: { ...parsed.resource, confinedTo } };
}

function isPosition(value: unknown): value is SourcePosition {
  if (typeof value !== "object" || value === null) return false;
  const { file, line, column } = value as Partial<Record<keyof SourcePosition, unknown>>;
  return typeof file === "string" && Number.isInteger(line) && Number.isInteger(column);
}
