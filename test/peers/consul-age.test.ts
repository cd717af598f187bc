/** What becomes of health that a real Consul said, when it is away for longer than its word is believed (`maxAgeSeconds`). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { systemClock } from "../../base/clock.ts";
import { type Catalog, createCatalog } from "../../discovery/catalog/catalog.ts";
import { VipAllocator } from "../../discovery/catalog/vip.ts";
import { createKubernetesRegistry } from "../../discovery/registry/kubernetes/registry.ts";
import type { Registry } from "../../discovery/registry/registry.ts";
import { createMemoryStore } from "../../store/memory.ts";
import { ConsulAgent } from "../support/consul-agent.ts";
import { startedRegistry } from "../support/consul-reading.ts";
import { consulPath } from "../support/consul.ts";
import { KubernetesApi } from "../support/kubernetes-api.ts";
import { type KubernetesObject, pod, service, slice } from "../support/kubernetes-objects.ts";
import { kubernetesPrograms } from "../support/kubernetes.ts";
import { waitUntil } from "../support/wait-until.ts";

const path = consulPath();
const programs = kubernetesPrograms();
const missing = path === undefined ? "no consul binary and no Go to build one" : programs === undefined ? "no kube-apiserver and etcd, and no Go to build them" : undefined;

const MANAGEMENT_TOKEN = "11111111-2222-3333-4444-555555555555";
const READING = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }';
const ACCOUNT = "system:serviceaccount:ironmesh:ironmesh-registry";
/** The least that a configuration may say is 90 s, which nobody wants to wait for here. */
const MAX_AGE_MS = 3_000;

(missing === undefined ? describe : describe.skip)(`the word of a consul that is away for long${missing === undefined ? "" : ` (${missing})`}`, () => {
  let folder: string;
  let consul: ConsulAgent;
  let api: KubernetesApi;
  let registries: Registry[];
  let catalog: Catalog;

  before(async () => {
    assert.ok(path !== undefined && programs !== undefined);
    folder = await mkdtemp(join(tmpdir(), "ironmesh-age-"));
    consul = await ConsulAgent.start({ path, managementToken: MANAGEMENT_TOKEN, dataFolder: join(folder, "data") });
    api = await KubernetesApi.start(programs, { reader: ACCOUNT });
    await api.apply(...parseAllDocuments(readFileSync(join(import.meta.dirname, "..", "..", "docs", "kubernetes", "rbac.yaml"), "utf8")).map((document) => document.toJS() as KubernetesObject));
    const tokenFile = join(folder, "token");
    await writeFile(tokenFile, (await consul.createToken(READING)).secret);
    await consul.transact([{ Node: { Verb: "set", Node: { Node: "n1", Address: "10.0.0.1" } } }, ...["1", "2", "3"].flatMap((id) => instance(id, id === "3" ? "critical" : "passing"))]);
    await api.apply(service("web"), pod("pod-2", { addresses: ["10.1.0.2"] }), ofPod(true));
    registries = [
      // A question ends well within the age.
      await startedRegistry(consul.address, { tokenFile, maxAgeMs: MAX_AGE_MS, pacing: { waitMs: 500, backoff: { baseMs: 20, maxMs: 200 } } }),
      createKubernetesRegistry({ name: "east", meshDomain: "mesh.internal", kubeconfig: await api.kubeconfig("reader"), clock: systemClock }),
    ];
    catalog = createCatalog({
      registries,
      sameness: [{ of: [{ registry: "consul", namespace: "consul", name: "web" }, { registry: "east", namespace: "east-default", name: "web" }], allowPlaintext: false }],
      meshDomain: "mesh.internal",
      trustDomain: "mesh.internal",
      vips: await VipAllocator.load({ store: createMemoryStore(), ranges: ["240.240.0.0/16", "2001:2::/48"], now: Date.now }),
      onVipFailure: (failure) => assert.fail(String(failure)),
    });
    registries[1]?.start();
  });

  after(async () => {
    await catalog?.close();
    for (const registry of registries ?? []) await registry.close();
    await api?.stop();
    await consul?.stop();
    await rm(folder, { recursive: true });
  });

  /** How each place feels, and whether it is called. */
  function places(): string {
    const endpoints = catalog.describe("consul/web")?.endpoints ?? [];
    const told = endpoints.filter(({ source, port }) => port === 8_080 && source.registry === "consul").map(({ addresses, health, getsTraffic }) => `${addresses[0]?.slice(-1)} ${health}${getsTraffic ? "" : ", no traffic"}`);
    return [...new Set(told)].sort().join("; ");
  }

  const become = (wanted: string): Promise<boolean> => waitUntil(() => places() === wanted, { what: wanted }).catch((failure: unknown) => assert.fail(`${String(failure)}, it is ${places()}`));

  it("counts no longer where another registry knows better, keeps no place from traffic, and counts again when it is back", async () => {
    await become("1 healthy; 2 healthy; 3 unhealthy, no traffic");
    await consul.stop();
    await waitUntil(() => registries[0]?.status().lastError?.code === "MESH_REGISTRY_UNREACHABLE", { what: "the loss" });
    await become("1 unknown; 2 healthy; 3 unhealthy, no traffic");
    const { ageMs = 0, synced, lastError } = registries[0]?.status() ?? assert.fail();
    assert.deepEqual([ageMs >= MAX_AGE_MS, synced, lastError?.code], [true, true, "MESH_REGISTRY_UNREACHABLE"]);
    await api.apply(ofPod(false));
    await become("1 unknown; 2 unhealthy, no traffic; 3 unhealthy, no traffic");
    await api.apply(ofPod(true));
    await become("1 unknown; 2 healthy; 3 unhealthy, no traffic");
    await consul.start();
    await become("1 healthy; 2 healthy; 3 unhealthy, no traffic");
    await waitUntil(() => registries[0]?.status().lastError === undefined && (registries[0]?.status().ageMs ?? MAX_AGE_MS) < MAX_AGE_MS, { what: "the end of the failure" });
  });
});

function instance(id: string, Status: "passing" | "critical") {
  return [
    { Service: { Verb: "set", Node: "n1", Service: { ID: `web-${id}`, Service: "web", Address: `10.1.0.${id}`, Port: 8_080 } } },
    { Check: { Verb: "set", Check: { Node: "n1", CheckID: `web-${id}`, Name: "probe", Status, ServiceID: `web-${id}` } } },
  ];
}

/** The second instance, as the cluster sees it. */
function ofPod(isReady: boolean): KubernetesObject {
  return slice("web-1", "web", [{ address: "10.1.0.2", pod: { name: "pod-2", uid: "" }, conditions: { ready: isReady, serving: isReady, terminating: false } }]);
}
