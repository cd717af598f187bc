import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { systemClock } from "../../../../base/clock.ts";
import { CodedError } from "../../../../base/coded-error.ts";
import { createKubernetesClient } from "../../../../discovery/kubernetes/client.ts";

const TOKEN = "eyJhbGciOiJSUzI1NiJ9";
const whole = JSON.stringify({
  apiVersion: "v1",
  kind: "Config",
  clusters: [{ name: "east", cluster: { server: "https://127.0.0.1:1" } }],
  contexts: [{ name: "east", context: { cluster: "east", user: "reader" } }],
  "current-context": "east",
  users: [{ name: "reader", user: { token: TOKEN } }],
});

describe("a kubeconfig that is half written", () => {
  let folder: string;
  before(() => void (folder = mkdtempSync(join(tmpdir(), "kubeconfig-"))));
  after(() => rmSync(folder, { recursive: true }));

  for (const [what, text] of [
    ["ends in its token", whole.slice(0, whole.indexOf(TOKEN) + TOKEN.length)],
    ["has its token in a line that is no YAML", `users:\n- name: reader\n  user:\n    token: ${TOKEN}: more\n`],
  ] as const) {
    it(`is told with the place, and without a word of what stands there: ${what}`, async () => {
      const kubeconfig = join(folder, "config");
      writeFileSync(kubeconfig, text);
      const client = createKubernetesClient({ kubeconfig }, systemClock);
      const failure: unknown = await client.list({ kind: { path: "/api/v1/services" }, limit: 1, continueToken: "", signal: new AbortController().signal }).catch((thrown: unknown) => thrown);
      assert.ok(failure instanceof CodedError && failure.code === "MESH_REGISTRY_MISCONFIGURED", inspect(failure));
      assert.match(failure.message, /^the kubeconfig cannot be used: .+\(\d+:\d+\)$/);
      assert.ok(!inspect(failure, { depth: 9 }).includes(TOKEN), inspect(failure, { depth: 9 }));
    });
  }
});
