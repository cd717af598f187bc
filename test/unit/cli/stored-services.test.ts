/** What of a registry's stored services is served after its configuration changed, while it is away. */
import assert from "node:assert/strict";
import { systemClock } from "../../../base/clock.ts";
import { controlPlaneSchema } from "../../../cli/control-plane/config.ts";
import { openRegistry } from "../../../cli/control-plane/registries.ts";
import { kubernetesAdmission } from "../../../discovery/registry/kubernetes/admission.ts";
import { buildKubernetesService } from "../../../discovery/registry/kubernetes/service.ts";
import type { LastGoodRegistry } from "../../../discovery/registry/last-good.ts";
import { NO_LOCALITY } from "../../../model/workload.ts";
import type { KeyValueStore } from "../../../store/key-value.ts";
import { createMemoryStore } from "../../../store/memory.ts";
import { FakeConsul } from "../../fakes/consul-server.ts";
import { waitUntil } from "../../support/wait-until.ts";

describe("stored services after a change of settings", () => {
  describe("of a Consul", () => {
    let store: KeyValueStore;
    let consul: FakeConsul;
    let registry: LastGoodRegistry | undefined;

    async function open(changes: object, meshDomain = "mesh.internal"): Promise<LastGoodRegistry> {
      await registry?.close();
      const parsed = controlPlaneSchema.parse({ registries: [{ kind: "consul", address: consul.address, ...changes }] });
      const [config] = parsed.registries;
      if (config === undefined) throw new Error("there is none");
      registry = await openRegistry(config, { meshDomain, store, clock: systemClock, registries: parsed.registries });
      return registry;
    }

    beforeEach(async () => {
      store = createMemoryStore();
      consul = await new FakeConsul().listen();
      consul.put({ id: "1", service: "Web", address: "10.1.0.1", port: 80 }, { id: "2", service: "Web", address: "10.1.0.2", port: 80, meta: { "external-source": "nomad" } }, { id: "job", service: "job", port: 80, meta: { "external-source": "nomad" } });
      const first = await open({});
      first.start();
      await waitUntil(() => first.status().synced, { what: "the first content", intervalMs: 5 });
      consul.faults.isCut = true;
      consul.drop();
    });

    afterEach(async () => {
      await registry?.close();
      registry = undefined;
      await consul.close();
    });

    type Served = readonly [hostname: string, instances: number, aliases: readonly string[]];
    const served = ({ services }: LastGoodRegistry): Served[] =>
      [...services.entries()]
        .sort(([left], [right]) => (left.toLowerCase() < right.toLowerCase() ? -1 : 1))
        .map(([, { hostname, backends, aliases }]) => [hostname, backends.kind === "explicit" ? backends.workloads.length : -1, aliases]);
    const web: Served = ["web.consul.svc.mesh.internal", 2, ["web.service.dc1.consul", "web.service.consul"]];
    const job: Served = ["job.consul.svc.mesh.internal", 1, ["job.service.dc1.consul", "job.service.consul"]];
    const hasNote = (one: LastGoodRegistry): boolean => one.status().notes.some((note) => note.includes("its settings do not give them any more"));

    it("are all there where nothing of it concerns them", async () => {
      for (const changes of [{}, { addressTag: "wan", otherAddresses: ["http://127.0.0.1:1"], maxAgeSeconds: 100 }]) {
        const next = await open(changes);
        assert.deepEqual(served(next), [job, web]);
        assert.equal(hasNote(next), false);
      }
    });

    for (const [what, changes, left] of [
      ["namespace", { namespace: "corp" }, []],
      ["datacenter", { datacenter: "dc2" }, []],
      ["partition", { partition: "edge" }, []],
      ["Consul namespace", { consulNamespace: "team" }, []],
      ["ignored services", { ignoredServices: ["WEB"] }, [job]],
      ["ignored sources", { ignoredSources: ["nomad"] }, [[web[0], 1, web[2]]]],
      ["Consul's own domain", { dnsDomain: "corp" }, [[job[0], 1, []], [web[0], 2, []]]],
    ] as const) {
      it(`are those that another ${what} leaves, with a note`, async () => {
        const next = await open(changes);
        next.start();
        assert.deepEqual(served(next), left);
        assert.equal(hasNote(next), true);
      });
    }

    it("are all there where the datacenter is named that they are in", async () => {
      assert.deepEqual(served(await open({ datacenter: "dc1" })), [[job[0], 1, ["job.service.dc1.consul"]], [web[0], 2, ["web.service.dc1.consul"]]]);
    });

    it("are none in another domain of the mesh, and the new ones once it answers", async () => {
      const next = await open({}, "other.internal");
      assert.deepEqual([served(next), hasNote(next)], [[], true]);
      delete consul.faults.isCut;
      next.start();
      await waitUntil(() => served(next).some(([hostname]) => hostname === "web.consul.svc.other.internal"), { what: "the content", intervalMs: 5 });
      assert.equal(hasNote(next), false);
    });
  });

  describe("of a Kubernetes cluster", () => {
    const settings = { name: "kubernetes", meshDomain: "mesh.internal", clusterDomain: "cluster.local", istioPods: "plaintext" } as const;
    const service = buildKubernetesService(
      { namespace: "shop", name: "reviews", labels: {}, exportTo: "", type: "ClusterIP", externalName: "", ipFamilies: [], ports: [], trafficDistribution: "", internalTrafficPolicy: "", sessionAffinity: "" },
      [],
      { podByUid: () => undefined, nodeByName: () => undefined },
      { registry: "kubernetes", meshDomain: "mesh.internal", namespacePrefix: "kubernetes-", clusterDomain: "cluster.local", network: "", locality: NO_LOCALITY, istioPods: "plaintext" },
    );
    assert.ok(service !== undefined);

    it("are all there where nothing of it concerns them", () => {
      assert.deepEqual(kubernetesAdmission(settings).admit("shop/reviews", service), service);
      assert.deepEqual(kubernetesAdmission({ ...settings, namespaces: ["shop"], istioPods: "exclude" }).admit("shop/reviews", service), service);
    });

    for (const [what, changes] of [
      ["prefix", { namespacePrefix: "k-" }],
      ["name", { name: "other" }],
      ["domain of the mesh", { meshDomain: "other.internal" }],
      ["choice of namespaces", { namespaces: ["bank"] }],
      ["choice of ignored namespaces", { ignoredNamespaces: ["shop"] }],
    ] as const) {
      it(`are not there under another ${what}`, () => assert.equal(kubernetesAdmission({ ...settings, ...changes }).admit("shop/reviews", service), undefined));
    }

    it("are not there where they are a name of one in a namespace that is left alone now", () => {
      const ledger = buildKubernetesService(
        { namespace: "bank", name: "ledger", labels: {}, exportTo: "", type: "ExternalName", externalName: "ledger.example.com", ipFamilies: [], ports: [{ name: "http", port: 80, protocol: "TCP", appProtocol: "" }], trafficDistribution: "", internalTrafficPolicy: "", sessionAffinity: "" },
        [],
        { podByUid: () => undefined, nodeByName: () => undefined },
        { registry: "kubernetes", meshDomain: "mesh.internal", namespacePrefix: "kubernetes-", clusterDomain: "cluster.local", network: "", locality: NO_LOCALITY, istioPods: "plaintext" },
      );
      assert.ok(ledger?.backends.kind === "explicit" && ledger.backends.workloads[0]?.namespace === "kubernetes-bank");
      const name = { ...service, backends: ledger.backends };
      assert.deepEqual(kubernetesAdmission(settings).admit("shop/reviews", name), name);
      assert.equal(kubernetesAdmission({ ...settings, ignoredNamespaces: ["bank"] }).admit("shop/reviews", name), undefined);
    });

    it("lose the native name of another domain", () => {
      assert.deepEqual(kubernetesAdmission({ ...settings, clusterDomain: "corp.local" }).admit("shop/reviews", service), { ...service, aliases: [] });
    });

    it("are not there where pods of them are in an Istio mesh, and such are excluded now", () => {
      const told = { ...service, notes: ["pods of it are in an Istio mesh: they are called in plaintext, which mode STRICT there refuses"] };
      assert.deepEqual(kubernetesAdmission(settings).admit("shop/reviews", told), told);
      assert.equal(kubernetesAdmission({ ...settings, istioPods: "exclude" }).admit("shop/reviews", told), undefined);
    });
  });
});
