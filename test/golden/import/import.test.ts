import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseDocuments } from "../../../api/document.ts";
import { renderImport, summarizeImport } from "../../../cli/consul-import.ts";
import { parseEntryFile } from "../../../discovery/registry/consul/import/entry-file.ts";
import { readConfigEntries } from "../../../discovery/registry/consul/import/read-entries.ts";
import { translateConfigEntries } from "../../../discovery/registry/consul/import/translate.ts";
import { importSettings } from "../../support/consul-import.ts";
import { assertRendered } from "../../support/reference-doc.ts";

const folder = import.meta.dirname;

// Config entries as Consul prints them; beside them, where a case needs it, NAME.settings.json.
describe("golden: import from Consul", () => {
  for (const file of globSync("*.in.json", { cwd: folder }).sort()) {
    const name = file.replace(".in.json", "");
    it(name, () => {
      const text = readFileSync(join(folder, file), "utf8");
      const settingsFile = join(folder, `${name}.settings.json`);
      const settings = importSettings(existsSync(settingsFile) ? (JSON.parse(readFileSync(settingsFile, "utf8")) as object) : {});
      const sources = parseEntryFile(text, file);
      assert.ok(sources.ok);
      const entries = readConfigEntries(sources.value);
      assert.ok(entries.ok, JSON.stringify(entries));
      const translated = translateConfigEntries(entries.value, settings);
      const rendered = `${renderImport(translated, settings, file)}\n`;
      assertRendered(join(folder, `${name}.out.yaml`), `# ${summarizeImport(translated)}\n${rendered}`);

      const { issues, resources } = parseDocuments(rendered, name, "files");
      assert.deepEqual(issues.filter(({ severity }) => severity === "error"), [], "what is printed is accepted");
      assert.equal(resources.length, translated.resources.filter(({ refusal }) => refusal === undefined).length);
      const oneLine = rendered.replaceAll(/\n# */g, " ");
      for (const issue of issues) assert.ok(oneLine.includes(`${issue.code} ${issue.path}: ${issue.message}`), `a comment announces ${issue.code} ${issue.message}`);
    });
  }
});
