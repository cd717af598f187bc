import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../base/clock.ts";
import { controlPlaneSchema } from "../../../cli/control-plane/config.ts";
import { openRegistry } from "../../../cli/control-plane/registries.ts";
import type { Registry } from "../../../discovery/registry/registry.ts";
import { createMemoryStore } from "../../../store/memory.ts";
import { FakeConsul } from "../../fakes/consul-server.ts";
import { createTestAuthority } from "../../support/test-authority.ts";
import { waitUntil } from "../../support/wait-until.ts";

describe("configuration of a consul registry", () => {
  const complaints = (registry: object): string[] => {
    const parsed = controlPlaneSchema.safeParse({ registries: [{ kind: "consul", ...registry }] });
    return parsed.success ? [] : parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  };

  it("may be empty, and may say everything", () => {
    assert.deepEqual(complaints({}), []);
    assert.deepEqual(
      complaints({
        address: "https://consul-1:8501", otherAddresses: ["https://consul-2:8501", "unix:///run/consul.sock"], datacenter: "dc2", partition: "p", consulNamespace: "n",
        tokenFile: "t", caFile: "ca", certificateFile: "c", keyFile: "k", serverName: "server.dc1.consul", addressTag: "wan", network: "east", dnsDomain: "corp.consul",
        ignoredServices: [], ignoredSources: ["nomad"], agentCache: true, maxConnections: 1_000,
      }),
      [],
    );
  });

  for (const [what, registry, complaint] of [
    ["an address without a scheme", { address: "consul:8500" }, "registries.0.address: must be http://HOST:PORT, https://HOST:PORT or unix:///PATH"],
    ["an address with a path", { address: "http://consul:8500/v1" }, "registries.0.address: must be http://HOST:PORT, https://HOST:PORT or unix:///PATH"],
    ["an address with a user", { address: "http://user:password@consul:8500" }, "registries.0.address: must be http://HOST:PORT, https://HOST:PORT or unix:///PATH"],
    ["an address with a port that is none", { address: "http://consul:99999" }, "registries.0.address: must be http://HOST:PORT, https://HOST:PORT or unix:///PATH"],
    ["a namespace that is none", { namespace: "Con Sul" }, "registries.0.namespace: must be a DNS label in lower case"],
    ["such an address among others", { otherAddresses: ["http://a:1", "tcp://b:1"] }, "registries.0.otherAddresses.1: must be http://HOST:PORT, https://HOST:PORT or unix:///PATH"],
    ["a certificate without its key", { address: "https://a:1", certificateFile: "c" }, "registries.0.certificateFile: needs keyFile beside it"],
    ["a key without its certificate", { address: "https://a:1", keyFile: "k" }, "registries.0.keyFile: needs certificateFile beside it"],
    ["TLS files for an address without TLS", { caFile: "ca" }, "registries.0.caFile: is of no use with http://127.0.0.1:8500: give an https:// address"],
    ["publishing in a namespace of Consul", { consulNamespace: "n", publish: {} }, "registries.0.publish: goes into the default partition and namespace alone: give it to a registry without partition and consulNamespace"],
    ["too few connections", { maxConnections: 3 }, "registries.0.maxConnections: Too small: expected number to be >=8"],
    ["a domain that is none", { dnsDomain: "Con sul" }, "registries.0.dnsDomain: must be a DNS name in lower case"],
    ["an unknown key", { tokn: "x" }, 'registries.0: Unrecognized key: "tokn"'],
  ] as const) {
    it(`refuses ${what}, and names the field`, () => assert.deepEqual(complaints(registry), [complaint]));
  }

  describe("opened", () => {
    let consul: FakeConsul;
    let folder: string;
    let registry: Registry | undefined;

    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), "ironmesh-consul-"));
    });

    afterEach(async () => {
      await registry?.close();
      registry = undefined;
      await consul?.close();
      await rm(folder, { recursive: true });
    });

    async function open(registries: readonly object[]): Promise<void> {
      const parsed = controlPlaneSchema.parse({ registries });
      const [config] = parsed.registries;
      if (config === undefined) throw new Error("there is none");
      registry = await openRegistry(config, { meshDomain: "mesh.internal", store: createMemoryStore(), clock: systemClock, registries: parsed.registries });
      registry.start();
      await waitUntil(() => registry?.status().synced, { what: "the first content", intervalMs: 5 });
    }

    for (const [what, others, wanted] of [
      ["reads what Kubernetes' catalog sync wrote where nobody reads Kubernetes", [], ["synced", "web"]],
      ["leaves it alone where somebody does", [{ kind: "kubernetes" }], ["web"]],
    ] as const) {
      it(what, async () => {
        consul = await new FakeConsul().listen();
        consul.put({ id: "web", service: "web", port: 80 }, { id: "synced", service: "synced", port: 80, meta: { "external-source": "kubernetes" } }, { id: "ours", service: "ours", port: 80, meta: { "external-source": "ironmesh" } });
        await open([{ kind: "consul", address: consul.address }, ...others]);
        assert.deepEqual([...(registry?.services.entries().keys() ?? [])].sort(), wanted);
      });
    }

    it("shares the connections that one address gives among its registries", async () => {
      consul = await new FakeConsul().listen();
      consul.put(...Array.from({ length: 70 }, (_, at) => ({ id: `s${at}`, service: `s${at}`, port: 80 })));
      await open([{ kind: "consul", address: consul.address }, { kind: "consul", name: "dc2", address: consul.address, datacenter: "dc2" }]);
      assert.match(registry?.status().notes.join() ?? "", /70 services are more than 64 connections/);
    });

    it("speaks TLS with the files that it is given, and says at the start which cannot be read", async () => {
      const authority = createTestAuthority();
      const server = authority.mintNamed("localhost");
      const client = authority.mintNamed("client");
      consul = await new FakeConsul({ certificate: server.certificateChain, key: server.privateKey.revealText(), clientRoot: authority.root, hasHttp2: true }).listen();
      consul.put({ id: "web", service: "web", port: 80 });
      const [caFile, certificateFile, keyFile] = [join(folder, "ca"), join(folder, "certificate"), join(folder, "key")];
      await writeFile(caFile, authority.root);
      await writeFile(certificateFile, client.certificateChain);
      await assert.rejects(open([{ kind: "consul", address: consul.address, caFile, certificateFile, keyFile }]), { code: "MESH_FILE_UNREADABLE" });
      await writeFile(keyFile, client.privateKey.revealText());
      await open([{ kind: "consul", address: consul.address, caFile, certificateFile, keyFile }]);
      assert.deepEqual([...(registry?.services.entries().keys() ?? [])], ["web"]);
    });
  });
});
