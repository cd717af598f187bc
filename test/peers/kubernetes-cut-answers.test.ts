import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { systemClock } from "../../base/clock.ts";
import { createKubernetesRegistry } from "../../discovery/registry/kubernetes/registry.ts";
import type { Registry } from "../../discovery/registry/registry.ts";
import { KubernetesApi } from "../support/kubernetes-api.ts";
import { pod, service, slice } from "../support/kubernetes-objects.ts";
import type { KubernetesObject } from "../support/kubernetes-objects.ts";
import { kubernetesPrograms } from "../support/kubernetes.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { startShortLivedRelay } from "../support/short-lived-relay.ts";
import { waitUntil } from "../support/wait-until.ts";

const programs = kubernetesPrograms();
/** Few enough that lists have several pages. */
const PACING = { pageSize: 3, resumeMs: 20, gatherMs: 20, backoff: { baseMs: 20, maxMs: 200 } };
const NAMES = Array.from({ length: 10 }, (_, at) => String(at));

(programs === undefined ? describe.skip : describe)(programs === undefined ? "answers of kubernetes that end in the middle (no kube-apiserver and etcd, and no Go to build them)" : "answers of kubernetes that end in the middle", function () {
  this.timeout(240_000);

  it("leave what a fresh list has, in lists of several pages and watches, while everything changes", async () => {
    assert.ok(programs !== undefined);
    const random = seededRandom();
    const api = await KubernetesApi.start(programs, { reader: "system:serviceaccount:ironmesh:ironmesh-registry" });
    // A handshake takes some 2 KB, the longest list some 20.
    const relay = await startShortLivedRelay(api.port, () => random.between(1_500, random.between(4_000, 60_000)));
    const opened: Registry[] = [];
    const open = async (port: number): Promise<Registry> => {
      const registry = createKubernetesRegistry({ name: "east", meshDomain: "mesh.internal", kubeconfig: await api.kubeconfig("reader", port), clock: systemClock, pacing: PACING });
      opened.push(registry);
      registry.start();
      return registry;
    };
    try {
      await api.apply(...parseAllDocuments(readFileSync(join(import.meta.dirname, "..", "..", "docs", "kubernetes", "rbac.yaml"), "utf8")).map((document) => document.toJS() as KubernetesObject));
      const registry = await open(relay.port);
      for (let step = 0; step < 150 || relay.cuts() < 40; step += 1) {
        const name = random.pick(NAMES) ?? "";
        const address = `10.0.${name}.${random.between(1, 200)}`;
        const target = pod(`p${name}`, { addresses: [address], labels: { version: String(step) } });
        // Some are a name of another one, in turn.
        const web = random.between(1, 4) === 1 ? service(`s${name}`, { type: "ExternalName", externalName: `s${random.pick(NAMES)}.default.svc.cluster.local`, ports: undefined }) : service(`s${name}`);
        const what = random.between(1, 12);
        if (what <= 2) await api.remove(service(`s${name}`));
        else if (what === 3) await api.remove(target);
        else if (what === 4) await api.remove(slice(`e${name}`, `s${name}`, []));
        else if (what === 5) await api.compact();
        else {
          // Addresses of a pod do not change: it is another one.
          await api.remove(target, service(`s${name}`));
          await api.apply(web, target, slice(`e${name}`, `s${name}`, [{ address, pod: { name: `p${name}`, uid: "" }, conditions: { ready: what % 2 === 0 } }]));
        }
      }
      relay.heal();
      const fresh = await open(api.port);
      await waitUntil(
        () => {
          assert.ok(fresh.status().synced);
          assert.deepEqual({ failure: registry.status().lastError, content: new Map(registry.services.entries()) }, { failure: undefined, content: new Map(fresh.services.entries()) });
          return true;
        },
        { what: `the same content (IRONMESH_SEED=${random.seed})`, timeoutMs: 60_000 },
      );
    } finally {
      for (const registry of opened) await registry.close();
      await relay.close();
      await api.stop();
    }
  });
});
