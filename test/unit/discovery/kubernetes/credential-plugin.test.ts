import assert from "node:assert/strict";
import { access, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { limitPlugins } from "../../../../discovery/kubernetes/credential-plugin.ts";

const CREDENTIAL = JSON.stringify({ apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential", status: { token: "reader" } });

describe("credential plugins of a kubeconfig", () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-plugin-"));
  });

  afterEach(() => rm(folder, { recursive: true }));

  async function withPlugin(script: string, timeoutMs: number, command = join(folder, "plugin")): Promise<KubeConfig> {
    if (script !== "") await writeFile(command, `#!/bin/sh\n${script}\n`, { mode: 0o700 });
    const config = new KubeConfig();
    limitPlugins(config, timeoutMs);
    config.loadFromOptions({
      clusters: [{ name: "fake", server: "https://127.0.0.1:1" }],
      users: [{ name: "reader", exec: { apiVersion: "client.authentication.k8s.io/v1", command } }],
      contexts: [{ name: "fake", cluster: "fake", user: "reader" }],
      currentContext: "fake",
    });
    return config;
  }

  const credentials = async (config: KubeConfig): Promise<unknown> => {
    const options = { headers: {} as Record<string, string> };
    await config.applyToHTTPSOptions(options as Parameters<KubeConfig["applyToHTTPSOptions"]>[0]);
    return options.headers["Authorization"];
  };

  for (const [what, hang] of [
    ["that hangs", "exec sleep 300"],
    ["whose own command hangs", "sleep 40"],
  ] as const) {
    it(`are ended where there is one ${what}, said to be, and run again`, async () => {
      const before = join(folder, "before");
      const config = await withPlugin(`test -e ${before} || { touch ${before}; ${hang}; }\necho '${CREDENTIAL}'`, 1_000);
      await assert.rejects(credentials(config), /plugin was ended by SIGKILL: it gave none within 1 s/);
      await access(before);
      assert.equal(await credentials(config), "Bearer reader");
    });
  }

  it("are waited for, and say themselves why they fail", async () => {
    assert.equal(await credentials(await withPlugin(`sleep 0.2; echo '${CREDENTIAL}'`, 60_000)), "Bearer reader");
    await assert.rejects(credentials(await withPlugin("echo log in first >&2; exit 1", 60_000)), /log in first/);
    const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
    const before = timers();
    await assert.rejects(credentials(await withPlugin("", 60_000, join(folder, "nowhere"))), /ENOENT/);
    assert.equal(timers(), before, "nothing is left to be ended");
  });
});
