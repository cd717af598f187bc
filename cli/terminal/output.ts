import { stringify } from "yaml";
import { type Column, renderTable } from "./table.ts";

/** How a command prints: for people, or for programs. */
export const OUTPUT_FORMATS = ["table", "json", "yaml"] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** Rows in the asked form; programs get every field, people the columns. */
export function renderRows<T>(rows: readonly T[], columns: readonly Column<T>[], format: OutputFormat, none: string): string {
  if (format !== "table") return renderValue(rows, format);
  return rows.length === 0 ? none : renderTable(columns, rows);
}

export function renderValue(value: unknown, format: Exclude<OutputFormat, "table">): string {
  return format === "json" ? JSON.stringify(value, undefined, 2) : stringify(value).trimEnd();
}
