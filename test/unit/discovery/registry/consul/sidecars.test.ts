import assert from "node:assert/strict";
import { healthAnswerSchema } from "../../../../../discovery/registry/consul/entry.ts";
import type { ConsulEntry } from "../../../../../discovery/registry/consul/entry.ts";
import { buildConsulService } from "../../../../../discovery/registry/consul/service.ts";
import { Sidecars } from "../../../../../discovery/registry/consul/sidecars.ts";
import { entryOf } from "../../../../fakes/consul-server.ts";
import type { FakeInstance } from "../../../../fakes/consul-server.ts";

const settings = { registry: "consul", namespace: "consul", meshDomain: "mesh.internal", addressTag: "", network: "", dnsDomain: "consul", ignoredSources: [] };

describe("sidecars of consul's own mesh", () => {
  let sidecars: Sidecars;

  beforeEach(() => {
    sidecars = new Sidecars();
  });

  /** How many of the instances a note counts. */
  function counted(name: string, ...ids: readonly string[]): number {
    const service = buildConsulService(name, entries(...ids.map((id) => ({ id, service: name, port: 80 }))), settings);
    assert.ok(service !== undefined);
    const [note = "0"] = sidecars.describe(name, service).notes;
    return Number.parseInt(note, 10);
  }

  it("adds up those of several services, and tells whose they are", () => {
    assert.deepEqual(sidecars.set("proxies", entries(sidecar("web", "a"), sidecar("db", "c"))), ["web", "db"]);
    assert.deepEqual(sidecars.set("more", entries(sidecar("web", "b"), sidecar("web", "a"))), ["web"]);
    assert.deepEqual([counted("web", "a", "b", "c"), counted("db", "c"), counted("mq", "a")], [2, 1, 0]);
  });

  it("forgets what a service does not hold any more, and tells of it", () => {
    sidecars.set("proxies", entries(sidecar("web", "a"), sidecar("db", "c")));
    sidecars.set("more", entries(sidecar("web", "b")));
    assert.deepEqual([...sidecars.set("proxies", entries(sidecar("mq", "d")))].sort(), ["db", "mq", "web"]);
    assert.deepEqual([counted("web", "a", "b"), counted("db", "c"), counted("mq", "d")], [1, 0, 1]);
    assert.deepEqual(sidecars.set("proxies", []), ["mq"]);
    assert.deepEqual(sidecars.set("proxies", []), []);
    assert.equal(counted("mq", "d"), 0);
  });

  it("are no gateways, and none of nobody's", () => {
    assert.deepEqual(sidecars.set("gateway", entries({ ...sidecar("web", "a"), kind: "mesh-gateway" }, { ...sidecar("", "a") })), []);
  });
});

function sidecar(service: string, id: string): FakeInstance {
  return { id: `${id}-sidecar`, service: "proxies", kind: "connect-proxy", port: 21_000, sidecarOf: { service, id } };
}

function entries(...instances: readonly FakeInstance[]): ConsulEntry[] {
  return healthAnswerSchema.parse(instances.map(entryOf));
}
