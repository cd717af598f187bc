import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { MESH_FAMILIES } from "../../../discovery/http/mesh-metrics.ts";
import { REGISTRY_FAMILIES } from "../../../discovery/http/registry-metrics.ts";
import { renderMetricsReference } from "../../support/metrics-reference.ts";
import { assertRendered } from "../../support/reference-doc.ts";

const docs = join(import.meta.dirname, "../../../docs");

describe("golden: the control plane's metrics", () => {
  it("metrics.md", () => {
    assertRendered(join(docs, "reference", "metrics.md"), renderMetricsReference([
      { title: "The mesh", families: MESH_FAMILIES },
      { title: "Each registry", families: REGISTRY_FAMILIES },
    ]));
  });

  it("the example of alert rules asks for metrics and labels that there are", () => {
    const labelsOf = new Map([...MESH_FAMILIES, ...REGISTRY_FAMILIES].map(({ name, labels }) => [name, labels]));
    const { groups } = parse(readFileSync(join(docs, "prometheus", "alerts.yaml"), "utf8")) as { readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string; readonly annotations: { readonly summary: string } }[] }[] };
    const rules = groups.flatMap((group) => group.rules);
    assert.ok(rules.length > 0);
    for (const { alert, expr, annotations } of rules) {
      const asked = [...expr.matchAll(/(ironmesh_\w+)(?:\{([^}]*)\})?/g)];
      assert.ok(asked.length > 0, `${alert} asks for nothing`);
      for (const [, name = "", matchers = ""] of asked) {
        const labels = labelsOf.get(name);
        assert.ok(labels !== undefined, `${alert}: there is no ${name}`);
        const used = [...matchers.matchAll(/(\w+)\s*[=!]/g), ...annotations.summary.matchAll(/\$labels\.(\w+)/g)].map(([, label = ""]) => label);
        assert.deepEqual(used.filter((label) => !labels.includes(label)), [], `${alert}: labels that ${name} has not`);
      }
    }
  });
});
