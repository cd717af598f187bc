import assert from "node:assert/strict";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { parse } from "yaml";
import type { CaptureSpec } from "../../../agent/interception/capture-spec.ts";
import { planCapture } from "../../../agent/interception/plan.ts";
import { renderIptables } from "../../../agent/interception/render-iptables.ts";
import { renderNft } from "../../../agent/interception/render-nft.ts";

/**
 * Each `<case>.in.yaml` is a CaptureSpec; beside it lies what it becomes with
 * either back end on a host that has no rules. `npm run golden` rewrites them.
 */
const FOLDER = import.meta.dirname;
const ALL = { capture: "active", guard: "active" } as const;

describe("golden interception rules", () => {
  for (const input of globSync("*.in.yaml", { cwd: FOLDER }).sort()) {
    const name = basename(input, ".in.yaml");
    const result = planCapture(parse(readFileSync(`${FOLDER}/${input}`, "utf8")) as CaptureSpec);
    const plan = (): Extract<typeof result, { ok: true }>["value"] => {
      assert.ok(result.ok, JSON.stringify(result));
      return result.value;
    };

    it(`${name} with nft`, () => assertGolden(`${name}.nft`, renderNft(plan(), ALL)));

    it(`${name} with iptables`, () => {
      const families = ([4, 6] as const).map((family) => `# ${family === 4 ? "iptables-restore" : "ip6tables-restore"} --noflush\n${renderIptables(plan(), family, { tables: {} }, ALL)}`);
      assertGolden(`${name}.iptables`, families.join("\n"));
    });
  }
});

function assertGolden(name: string, actual: string): void {
  const path = `${FOLDER}/${name}`;
  if (process.env["UPDATE_GOLDEN"] === "1") writeFileSync(path, actual);
  let expected: string;
  try {
    expected = readFileSync(path, "utf8");
  } catch (cause) {
    throw new Error(`${name} is missing: run \`npm run golden\``, { cause });
  }
  assert.equal(actual, expected, `${name} differs: look at it, then run \`npm run golden\``);
}
