import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { fromJson, toJson } from "@bufbuild/protobuf";
import { translated, type TranslatedResource } from "../../discovery/translate/resource.ts";
import { ListenerSchema } from "../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { PROTO_REGISTRY } from "../../proto/registry.ts";
import { callersInParallel, tcpCallersInParallel } from "../support/mesh-callers.ts";
import { identityOf, type MeshScenario, type MeshScenarioOptions, startMeshScenario, UID, VIP } from "../support/mesh-scenario.ts";
import { waitUntil } from "../support/wait-until.ts";

const OWN = { web: [identityOf("web")], api: [identityOf("api")] };

describe("identities of pooled connections", function () {
  this.timeout(180_000);

  it("would leak if the name of the secret were not part of the pool's key: this test can fail", async () => {
    await inScenario({ alter: withUnhashedIdentity }, async (mesh) => {
      // It takes two workloads at one connection at one time: nearly always at the first try. (TCP leaks too, too seldom to wait for.)
      await waitUntil(async () => !isDeepStrictEqual(await callersInParallel(mesh, "v4"), OWN), { what: "a request under another workload's name (if there is none: is the setting still needed?)" });
    });
  });

  it("never leaks", async () => {
    await inScenario({}, async (mesh) => {
      for (let round = 0; round < 3; round += 1) {
        const [http, tcp] = await Promise.all([callersInParallel(mesh, "v4"), tcpCallersInParallel(mesh, "v4")]);
        assert.deepEqual([http, tcp], [OWN, OWN]);
      }
    });
  });

  it("fails closed for a workload without a certificate", async () => {
    await inScenario({ alter: withoutWebsCertificate }, async (mesh) => {
      const call = { mode: "http1", host: VIP.reviews[0], port: 8080, authority: "reviews" } as const;
      const [web] = await mesh.http(mesh.hosts.a, { ...call, uid: UID.web });
      assert.equal(web?.status, 503);
      const [api] = await mesh.http(mesh.hosts.a, { ...call, uid: UID.api });
      assert.equal(api?.status, 200);
    });
  });
});

/** The setting that the facts of Envoy warn of: everything works, and pools are shared between workloads. */
function withUnhashedIdentity(resource: TranslatedResource): TranslatedResource {
  if (resource.schema !== ListenerSchema) return resource;
  const json = JSON.stringify(toJson(resource.schema, resource.message, { registry: PROTO_REGISTRY }));
  const altered = JSON.parse(json.replaceAll("envoy.hashable_string", "envoy.string")) as Parameters<typeof fromJson>[1];
  return translated(ListenerSchema, resource.name, fromJson(ListenerSchema, altered, { registry: PROTO_REGISTRY }));
}

async function inScenario(options: MeshScenarioOptions, work: (mesh: MeshScenario) => Promise<void>): Promise<void> {
  const mesh = await startMeshScenario(options);
  try {
    await work(mesh);
  } finally {
    await mesh.close();
  }
}

/** What `web` calls with goes to nobody; what it answers with stays. */
function withoutWebsCertificate(resource: TranslatedResource): TranslatedResource {
  return resource.name === identityOf("web") ? { ...resource, name: "nobody's" } : resource;
}
