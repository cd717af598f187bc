import { readFileSync } from "node:fs";

/** Of this program, as its package says it. */
export function version(): string {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return version;
}
