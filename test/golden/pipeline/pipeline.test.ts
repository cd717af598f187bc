import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { stringify } from "yaml";
import { parseDocuments } from "../../../api/document.ts";
import { meshConfigSchema } from "../../../api/mesh-config.ts";
import { translateOffline } from "../../../cli/offline.ts";

const isUpdating = process.env["UPDATE_GOLDEN"] === "1";

// The whole pipeline but Envoy's own form, which test/golden/translate holds:
// YAML, registries, catalog, virtual addresses, names, the plain form.
describe("golden: pipeline", () => {
  for (const input of globSync("*.in.yaml", { cwd: import.meta.dirname }).sort()) {
    const name = basename(input, ".in.yaml");
    it(`${name} is as it was`, async () => {
      const text = readFileSync(join(import.meta.dirname, input), "utf8");
      const { resources, issues } = parseDocuments(text, input, "files");
      assert.deepEqual(issues.filter(({ severity }) => severity === "error"), []);
      const { ir } = await translateOffline(resources, groupsOf(text), meshConfigSchema.parse({}));
      const path = join(import.meta.dirname, `${name}.out.yaml`);
      const actual = stringify(ir, { lineWidth: 0, aliasDuplicateObjects: false });
      if (isUpdating) writeFileSync(path, actual);
      assert.ok(existsSync(path), `${name}.out.yaml is missing: run \`npm run golden\``);
      assert.equal(actual, readFileSync(path, "utf8"), "run `npm run golden` and look at the difference");
    });
  }
});

/** The first line names the groups that the host runs: `# groups: default/web default/db`. */
function groupsOf(text: string): string[] {
  const [, groups] = /^# groups: (.+)\n/.exec(text) ?? [];
  assert.ok(groups, "the first line says `# groups: NAMESPACE/NAME …`");
  return groups.split(" ");
}
