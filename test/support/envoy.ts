import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/**
 * The Envoy binary that tests run: `IRONMESH_ENVOY`, else the one that the
 * set-up put into the cache, else the first on PATH.
 */
export function envoyPath(): string {
  const cache = process.env["IRONMESH_CACHE"] ?? "/var/cache/ironmesh";
  const onPath = (process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "envoy"));
  const candidates = [process.env["IRONMESH_ENVOY"], join(cache, "bin", "envoy"), ...onPath];
  const found = candidates.find((path) => path !== undefined && existsSync(path));
  if (found === undefined) throw new Error("no envoy binary: run `npm run prepare-machine -- test`, or set IRONMESH_ENVOY");
  return found;
}
