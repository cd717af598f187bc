import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { WORLD_FOLDER } from "./world.ts";

/** The end of each daemon's log, by file name; from the start of a line. */
export async function readLogTails(maxBytes: number): Promise<readonly (readonly [name: string, text: string])[]> {
  const folder = join(WORLD_FOLDER, "log");
  try {
    const names = (await readdir(folder)).toSorted();
    return await Promise.all(names.map(async (name) => [name, tail(await readFile(join(folder, name), "utf8"), maxBytes)] as const));
  } catch {
    return [];
  }
}

function tail(text: string, maxBytes: number): string {
  return text.length <= maxBytes ? text : text.slice(text.indexOf("\n", text.length - maxBytes) + 1);
}
