import { readFile } from "node:fs/promises";
import type { z } from "zod";
import { CodedError } from "../base/coded-error.ts";
import { parseConfigFile } from "../base/config-file.ts";
import { formatIssue } from "../base/issue.ts";
import type { CliContext } from "./context.ts";

/** Issues of the control plane's configuration file. */
const CODES = { syntax: "IM0001", field: "IM0002" } as const;

/** The parsed file; undefined, with all issues said and exit code 2, where it is not acceptable. */
export async function readConfig<T>(schema: z.ZodType<T>, file: string, context: CliContext): Promise<T | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    throw new CodedError("MESH_FILE_UNREADABLE", `cannot read ${file}`, { cause, hint: "check the path and its permissions" });
  }
  const parsed = parseConfigFile(schema, text, file, CODES);
  if (parsed.ok) return parsed.value;
  for (const issue of parsed.error) context.complain(formatIssue(issue));
  context.setExitCode(2);
  return undefined;
}
