import { messageOf } from "../../../../base/coded-error.ts";
import type { Issue } from "../../../../base/issue.ts";
import { err, ok, type Result } from "../../../../base/result.ts";
import type { EntrySource } from "./read-entries.ts";

/**
 * Reads JSON as Consul prints config entries: one, a list of them, or several
 * behind each other, as `consul config read` called again and again leaves them.
 *
 * @param name of the file, to show
 */
export function parseEntryFile(text: string, name: string): Result<readonly EntrySource[], Issue> {
  try {
    return ok([{ origin: name, value: JSON.parse(text) as unknown }]);
  } catch (whole) {
    const parts = text.split(/^(?=[{[])/m).filter((part) => part.trim() !== "");
    try {
      if (parts.length < 2) throw whole;
      return ok(parts.map((part, index) => ({ origin: `${name}, entry ${index + 1}`, value: JSON.parse(part) as unknown })));
    } catch (cause) {
      return err({ code: "IM0601", severity: "error", path: name, message: `is not JSON: ${messageOf(cause)}`, remedy: "give what `consul config read` or /v1/config/KIND prints" });
    }
  }
}
