import assert from "node:assert/strict";
import { readMetadata } from "../../../../../discovery/kubernetes/object.ts";
import type { Reader } from "../../../../../discovery/kubernetes/object.ts";
import { buildInstances } from "../../../../../discovery/registry/kubernetes/instances.ts";
import { readPod, readSlice } from "../../../../../discovery/registry/kubernetes/objects.ts";
import { NO_LOCALITY, type Workload } from "../../../../../model/workload.ts";
import { pod, slice } from "../../../../support/kubernetes-objects.ts";
import type { KubernetesObject } from "../../../../support/kubernetes-objects.ts";

const UNREADY = { ready: false };
const web1 = { name: "web-1", uid: "u1" };
const web2 = { name: "web-2", uid: "u2" };
const pods = [pod("web-1", { uid: "u1", addresses: ["10.0.0.1"], labels: { version: "v1" } }), pod("web-2", { uid: "u2", addresses: ["10.0.0.1"], labels: { version: "v2" } })];

describe("endpoint slices that are odd and legal", () => {
  for (const [teller, told] of [["a", "z"], ["z", "a"]] as const) {
    it(`make one instance of a pod whose address another controller tells too, and believe the better news: slice ${teller} beside ${told}`, () => {
      for (const conditions of [[{}, UNREADY], [UNREADY, {}]] as const) {
        const slices = [slice(told, "web", [{ address: "10.0.0.1", pod: web1, conditions: conditions[0] }]), slice(teller, "web", [{ address: "10.0.0.1", conditions: conditions[1] }])];
        const [instance, ...others] = build(slices, pods.slice(0, 1));
        assert.deepEqual([instance?.key, instance?.labels, instance?.health, instance?.healthDetail, others], ["east/pod/u1", { version: "v1" }, "healthy", undefined, []]);
      }
    });
  }

  it("make one instance of an address that several controllers tell, however long the better news lasts", () => {
    const both = (first: object, second: object) => build([slice("a", "web", [{ address: "10.0.0.1", conditions: first }]), slice("b", "web", [{ address: "10.0.0.1", conditions: second }])]);
    const keys = [both({}, UNREADY), both(UNREADY, {}), both(UNREADY, UNREADY)].map((instances) => instances.map(({ key, health }) => [key, health]));
    assert.deepEqual(keys, [[["east/endpoint/default/a/10.0.0.1", "healthy"]], [["east/endpoint/default/a/10.0.0.1", "healthy"]], [["east/endpoint/default/a/10.0.0.1", "unhealthy"]]]);
  });

  it("make one instance of a place that a pod leaves to its successor, as on a node's own network", () => {
    const ending = { ready: false, serving: true, terminating: true };
    const [instance, ...others] = build([slice("a", "web", [{ address: "10.0.0.1", pod: web1, conditions: ending }, { address: "10.0.0.1", pod: web2 }])], pods);
    assert.deepEqual([instance?.key, instance?.health, instance?.labels, others], ["east/pod/u2", "healthy", { version: "v2" }, []]);
  });

  it("give no traffic to a pod of an Istio mesh by its address alone, where such are excluded", () => {
    const sidecar = pod("web-1", { uid: "u1", addresses: ["10.0.0.1"], containers: ["app", "istio-proxy"] });
    const told = slice("b", "web", [{ address: "10.0.0.1" }, { address: "10.0.0.2" }]);
    assert.deepEqual(build([slice("a", "web", [{ address: "10.0.0.1", pod: web1 }]), told], [sidecar], "exclude").map(({ addresses }) => addresses), [["10.0.0.2"]]);
    assert.deepEqual(build([told, slice("c", "web", [{ address: "10.0.0.1", pod: web1 }])], [sidecar], "exclude").map(({ addresses }) => addresses), [["10.0.0.2"]]);
  });

  it("keep several processes of one address apart, by their ports", () => {
    const at = (name: string, port: number) => slice(name, "web", [{ address: "10.0.0.1" }], { ports: [{ name: "http", port }] });
    assert.deepEqual(build([at("a", 8_080), at("b", 8_081)]).map(({ ports }) => ports), [{ http: 8_080 }, { http: 8_081 }]);
    const [first, second] = build([slice("a", "web", [{ address: "10.0.0.1", pod: web1 }]), slice("b", "web", [{ address: "10.0.0.1", pod: web2 }], { ports: [{ name: "http", port: 8_081 }] })], pods);
    assert.deepEqual([[first?.key, first?.ports], [second?.key, second?.ports]], [["east/pod/u1", { http: 8_080 }], ["east/pod/u2", { http: 8_081 }]]);
  });

  it("lose no address where several of one family are said to be one pod's that nobody has seen", () => {
    const addresses = build([slice("a", "web", [{ address: "10.0.0.1", pod: web1 }, { address: "10.0.0.2", pod: web1 }]), slice("b", "web", [{ address: "fd00::1", pod: web1 }], { addressType: "IPv6" })]).map((one) => one.addresses);
    assert.deepEqual(addresses, [["10.0.0.2"], ["10.0.0.1", "fd00::1"]]);
  });

  it("give traffic to what is ready though it is terminating, as publishNotReadyAddresses has it", () => {
    const conditions = [{ ready: true, serving: false, terminating: true }, { ready: true, serving: true, terminating: true }, { serving: true, terminating: true }, { terminating: true }];
    const instances = build([slice("a", "web", conditions.map((one, at) => ({ address: `10.0.0.${at + 1}`, conditions: one })))]);
    assert.deepEqual(instances.map(({ health, healthDetail }) => [health, healthDetail]), [["healthy", undefined], ["healthy", undefined], ["draining", "terminating"], ["draining", "terminating"]]);
  });
});

function build(slices: readonly KubernetesObject[], seen: readonly KubernetesObject[] = [], istioPods: "plaintext" | "exclude" = "plaintext"): Workload[] {
  const byUid = new Map(seen.map((object) => readAs(readPod, object)).map((one) => [one.uid, one]));
  const surroundings = { podByUid: (uid: string) => byUid.get(uid), nodeByName: () => undefined };
  return buildInstances(slices.map((object) => readAs(readSlice, object)), "IPv4", "east-default", surroundings, { registry: "east", network: "", locality: NO_LOCALITY, istioPods }, new Set());
}

function readAs<T>(read: Reader<T>, object: KubernetesObject): T {
  const written = { ...object, metadata: { ...object.metadata, resourceVersion: "1" } };
  const { value, problem } = read(written, readMetadata(written));
  assert.ok(value !== undefined, problem);
  return value;
}
