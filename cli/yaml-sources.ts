import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { CodedError } from "../base/coded-error.ts";
import type { CliContext } from "./context.ts";

/** A piece of YAML, and where a person finds it. */
export interface YamlText {
  readonly file: string;
  readonly text: string;
}

/** Reads files, the YAML files of directories, and standard input (`-`). */
export async function readSources(paths: readonly string[], context: CliContext): Promise<YamlText[]> {
  const sources: YamlText[] = [];
  for (const path of paths) {
    if (path === "-") sources.push({ file: "(standard input)", text: await context.readInput() });
    else sources.push(...(await readPath(path)));
  }
  return sources;
}

async function readPath(path: string): Promise<YamlText[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [{ file: path, text: await readFile(path, "utf8") }];
    const names = (await readdir(path)).filter((name) => /\.ya?ml$/.test(name)).sort();
    return await Promise.all(names.map(async (name) => ({ file: join(path, name), text: await readFile(join(path, name), "utf8") })));
  } catch (cause) {
    throw new CodedError("MESH_FILE_UNREADABLE", `cannot read ${path}`, { cause, hint: "check the path and its permissions" });
  }
}
