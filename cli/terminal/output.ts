import { stringify } from "yaml";
import { type Column, renderTable } from "./table.ts";

/** How a command prints: for people, or for programs. */
export const OUTPUT_FORMATS = ["table", "json", "yaml"] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** Control characters that JSON allows as they are, in strings; YAML puts a text with one between double quotes, where the same escape holds. */
const LEFT_BARE = /[\u007f-\u009f]/g;

/** Also for readers of YAML 1.1, to whom `yes` is no text; what stands there twice is written twice. */
const YAML_FORM = { compat: "yaml-1.1", aliasDuplicateObjects: false } as const;

/** Rows in the asked form; programs get every field, people the columns. */
export function renderRows<T>(rows: readonly T[], columns: readonly Column<T>[], format: OutputFormat, none: string): string {
  if (format !== "table") return renderValue(rows, format);
  return rows.length === 0 ? none : renderTable(columns, rows);
}

export function renderValue(value: unknown, format: Exclude<OutputFormat, "table">): string {
  const text = format === "json" ? JSON.stringify(value, undefined, 2) : stringify(value, YAML_FORM).trimEnd();
  return text.replaceAll(LEFT_BARE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
