import { readFile } from "node:fs/promises";
import { CodedError } from "../base/coded-error.ts";
import { type ConfigFile, parseConfigFile } from "../base/config-file.ts";
import { formatIssue } from "../base/issue.ts";
import type { CliContext } from "./context.ts";

/** The parsed file; undefined, with all issues said and exit code 2, where it is not acceptable. */
export async function readConfig<T>(format: ConfigFile<T>, file: string, context: CliContext): Promise<T | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    throw new CodedError("MESH_FILE_UNREADABLE", `cannot read ${file}`, { cause, hint: "check the path and its permissions" });
  }
  const parsed = parseConfigFile(format, text, file);
  if (parsed.ok) return parsed.value;
  for (const issue of parsed.error) context.complain(formatIssue(issue));
  context.setExitCode(2);
  return undefined;
}
