import assert from "node:assert/strict";
import { type AnyResource, resourceKey } from "../../../../api/resource.ts";
import { SourceCollection } from "../../../../base/collection.ts";
import { createCatalog } from "../../../../discovery/catalog/catalog.ts";
import { VipAllocator } from "../../../../discovery/catalog/vip.ts";
import { createStaticRegistry } from "../../../../discovery/registry/static/registry.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import { foreignService, PlainRegistry, plainWorkload } from "../../../support/plain-registry.ts";
import { resource } from "../../../support/resource.ts";

describe("selectors over instances of other registries", () => {
  it("see them where they are named, in their own namespace, and no others", async () => {
    const config = new SourceCollection<AnyResource>();
    const written = createStaticRegistry({ config, meshDomain: "mesh.internal" });
    written.start();
    const consul = new PlainRegistry("consul");
    const catalog = createCatalog({
      registries: [written, consul],
      meshDomain: "mesh.internal",
      trustDomain: "mesh.internal",
      vips: await VipAllocator.load({ store: createMemoryStore(), ranges: ["240.240.0.0/16", "2001:2::/48"], now: Date.now }),
      onVipFailure: (failure) => assert.fail(String(failure)),
    });
    const entry = (name: string, namespace: string, annotations: Record<string, string>): AnyResource => {
      const made = resource("ServiceEntry", name, { hosts: [`${name}.example.com`], ports: [{ name: "http", number: 80, protocol: "HTTP" }], resolution: "STATIC", workloadSelector: { labels: { app: "reviews" } } }, { namespace });
      return { ...made, metadata: { ...made.metadata, annotations } };
    };
    const put = (one: AnyResource): void => config.apply([[resourceKey(one), one]]);
    consul.services.apply([["reviews", foreignService("consul", "reviews")]]);
    put(entry("asked", "consul", { "ironmesh.io/registries": "kubernetes, consul" }));
    put(entry("silent", "consul", {}));
    put(entry("elsewhere", "default", { "ironmesh.io/registries": "consul" }));
    const found = (key: string): number | undefined => catalog.endpoints.get(key)?.length;
    assert.deepEqual([found("consul/asked.example.com"), found("consul/silent.example.com"), found("default/elsewhere.example.com")], [1, 0, 0]);
    assert.match(catalog.findings.get("consul/asked.example.com")?.notes.join() ?? "", /no registry is called kubernetes/);
    consul.services.apply([["other", foreignService("consul", "other", { backends: { kind: "explicit", workloads: [plainWorkload("172.16.0.9", { namespace: "consul" })] } })]]);
    assert.equal(found("consul/asked.example.com"), 2);
    consul.services.apply([["reviews", undefined]]);
    assert.equal(found("consul/asked.example.com"), 1);
    await catalog.close();
  });
});
