import { foreignText } from "../../base/foreign-text.ts";

/** One column: its heading and what a row shows under it. */
export type Column<T> = readonly [heading: string, cell: (row: T) => string | number];

/** Text in columns, two spaces apart, for a terminal or a pipe. An empty cell shows as `-`. Cells are what hosts and registries say: each stays one line. */
export function renderTable<T>(columns: readonly Column<T>[], rows: readonly T[]): string {
  const cells = rows.map((row) => columns.map(([, cell]) => foreignText(String(cell(row))) || "-"));
  const lines = [columns.map(([heading]) => heading), ...cells];
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0)));
  return lines.map((line) => line.map((text, index) => text.padEnd(widths[index] ?? 0)).join("  ").trimEnd()).join("\n");
}
