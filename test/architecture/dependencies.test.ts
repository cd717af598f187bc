import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "mocha";
import { FENCES, UNIMPORTED_PACKAGES } from "../../architecture.ts";
import { packageOf, readSourceFiles } from "./source-file.ts";

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

/** Rooms that do not ship, so that they may use what only development installs. */
const NOT_SHIPPED = ["bench", "demo", "proto", "test"];

const manifest = JSON.parse(readFileSync(join(import.meta.dirname, "..", "..", "package.json"), "utf8")) as Manifest;
const shipped = Object.keys(manifest.dependencies);
const declared = [...shipped, ...Object.keys(manifest.devDependencies), ...Object.keys(manifest.optionalDependencies)];

/** Every import of a package that npm brings, with the room that has it. */
function packageImports(): readonly { readonly path: string; readonly name: string }[] {
  return readSourceFiles().flatMap(({ path, imports }) =>
    imports.flatMap(({ specifier }) =>
      specifier === undefined || specifier.startsWith(".") || specifier.startsWith("node:") ? [] : [{ path, name: packageOf(specifier) }],
    ),
  );
}

describe("dependencies", () => {
  it("are declared where they are imported, for what ships as well", () => {
    const undeclared = packageImports().filter(({ path, name }) => {
      const room = path.split("/", 1)[0] ?? "";
      return !(NOT_SHIPPED.includes(room) ? declared : shipped).includes(name);
    });
    assert.deepEqual(undeclared, []);
  });

  it("are imported, or have a reason not to be", () => {
    const imported = new Set(packageImports().map(({ name }) => name));
    assert.deepEqual(declared.filter((name) => !imported.has(name) && !Object.hasOwn(UNIMPORTED_PACKAGES, name)), []);
  });

  it("are declared when a table names them", () => {
    const planned = ["@kubernetes/client-node"];
    const named = [...Object.keys(UNIMPORTED_PACKAGES), ...FENCES.map((fence) => fence.package).filter((name) => !name.startsWith("node:"))];
    assert.deepEqual(named.filter((name) => !declared.includes(name) && !planned.includes(name)), []);
  });
});
