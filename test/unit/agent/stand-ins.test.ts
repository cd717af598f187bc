import assert from "node:assert/strict";
import { createStandIns } from "../../../agent/stand-ins.ts";
import type { StandIns } from "../../../agent/stand-ins.ts";
import { createResource } from "../../../xds/resource.ts";
import type { Resource } from "../../../xds/resource.ts";
import { createResourceSet } from "../../../xds/resource-set.ts";
import type { ResourceSet } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";

const TYPES = Object.values(TYPE_URLS);
const of = (typeUrl: string, name: string, content: string): Resource => createResource(typeUrl, name, Buffer.from(content), content);

describe("what stands in for what Envoy refuses", () => {
  let resources: ResourceSet;
  let standIns: StandIns;
  const put = (...all: readonly Resource[]): void => resources.update((transaction) => all.forEach((one) => transaction.upsert(one)));
  const remove = (typeUrl: string, name: string): void => resources.update((transaction) => transaction.remove(typeUrl, name));
  const ack = ({ typeUrl, name, version }: Resource): void => standIns.acknowledged({ typeUrl, resources: [{ name, version }] });
  const nack = ({ typeUrl, name, version }: Resource, isFinal = true): void => standIns.refused({ typeUrl, message: "no", resources: [{ name, version }], isFinal, atMs: 0 });
  const inForce = (typeUrl: string): string[] => [...standIns.inForce.list(typeUrl)].map(({ name, version }) => `${name}@${version}`).toSorted();

  beforeEach(() => {
    resources = createResourceSet();
    standIns = createStandIns(resources, TYPES, []);
  });

  for (const typeUrl of TYPES) {
    it(`is what it took last, of ${typeUrl.split(".").at(-1)} as of every type`, () => {
      const [first, second, third] = ["1", "2", "3"].map((content) => of(typeUrl, "table/a", content)) as [Resource, Resource, Resource];
      put(first);
      ack(first);
      put(second);
      nack(second, false);
      assert.deepEqual(inForce(typeUrl), ["table/a@2"], "the culprit is still searched for");
      nack(second);
      assert.deepEqual(inForce(typeUrl), ["table/a@1"]);
      ack(first);
      assert.deepEqual(standIns.rejections(), [{ typeUrl, name: "table/a", version: "2", message: "no" }]);
      put(third);
      assert.deepEqual([inForce(typeUrl), standIns.rejections()], [["table/a@3"], []]);
      nack(third);
      assert.deepEqual(inForce(typeUrl), ["table/a@1"]);
      remove(typeUrl, "table/a");
      assert.deepEqual([inForce(typeUrl), standIns.rejections()], [[], []]);
    });
  }

  it("is nothing where it never took any: the newest is tried again", () => {
    put(of(TYPE_URLS.listener, "in", "1"));
    nack(of(TYPE_URLS.listener, "in", "1"));
    assert.deepEqual(inForce(TYPE_URLS.listener), ["in@1"]);
    assert.equal(standIns.rejections().length, 1);
  });

  it("is what an earlier life of the agent wrote down", () => {
    standIns = createStandIns(resources, TYPES, [of(TYPE_URLS.listener, "in", "1")]);
    put(of(TYPE_URLS.listener, "in", "2"));
    nack(of(TYPE_URLS.listener, "in", "2"));
    assert.deepEqual(inForce(TYPE_URLS.listener), ["in@1"]);
  });

  it("comes with what is gone and may be referred to by it, for as long as it stands", () => {
    const [table, cluster, endpoints, other] = [of(TYPE_URLS.routeConfiguration, "r", "1"), of(TYPE_URLS.cluster, "c", "1"), of(TYPE_URLS.clusterLoadAssignment, "c", "1"), of(TYPE_URLS.nameRecord, "n", "1")];
    put(table, cluster, endpoints, other);
    [table, cluster, endpoints, other].forEach(ack);
    put(of(TYPE_URLS.routeConfiguration, "r", "2"));
    for (const { typeUrl, name } of [cluster, endpoints, other]) remove(typeUrl, name);
    nack(of(TYPE_URLS.routeConfiguration, "r", "2"));
    assert.deepEqual([TYPE_URLS.routeConfiguration, TYPE_URLS.cluster, TYPE_URLS.clusterLoadAssignment, TYPE_URLS.nameRecord].map(inForce), [["r@1"], ["c@1"], ["c@1"], []]);
    standIns.settled([]);
    assert.deepEqual([...standIns.accepted().values()].map(({ version }) => version), ["1", "1", "1"], "what is put on disk");
    put(of(TYPE_URLS.routeConfiguration, "r", "3"));
    assert.deepEqual([TYPE_URLS.routeConfiguration, TYPE_URLS.cluster, TYPE_URLS.clusterLoadAssignment].map(inForce), [["r@3"], [], []]);
  });

  it("ends when Envoy takes it after all, and when an Envoy of another release comes", () => {
    const [first, second] = [of(TYPE_URLS.cluster, "c", "1"), of(TYPE_URLS.cluster, "c", "2")];
    standIns.opened("1.40.0");
    put(first);
    ack(first);
    put(second);
    nack(second);
    standIns.opened("1.40.0");
    assert.deepEqual(inForce(TYPE_URLS.cluster), ["c@1"]);
    standIns.opened("1.40.1");
    assert.deepEqual([inForce(TYPE_URLS.cluster), standIns.rejections()], [["c@2"], []]);
    nack(second);
    assert.deepEqual(inForce(TYPE_URLS.cluster), ["c@1"]);
    ack(second);
    assert.deepEqual([inForce(TYPE_URLS.cluster), standIns.rejections()], [["c@2"], []]);
  });

  it("minds no refusal of what was replaced meanwhile, but that it was taken", () => {
    const [first, second, third, fourth] = ["1", "2", "3", "4"].map((content) => of(TYPE_URLS.cluster, "c", content)) as [Resource, Resource, Resource, Resource];
    standIns.opened("1.40.0");
    for (const one of [first, second, third]) put(one);
    ack(first);
    nack(second);
    assert.deepEqual([inForce(TYPE_URLS.cluster), standIns.rejections()], [["c@3"], []]);
    put(fourth);
    ack(third);
    nack(fourth);
    assert.deepEqual(inForce(TYPE_URLS.cluster), ["c@3"]);
  });

  it("is nothing where it took what the agent has not any more", () => {
    put(of(TYPE_URLS.cluster, "c", "1"));
    ack(of(TYPE_URLS.cluster, "c", "1"));
    ack(of(TYPE_URLS.cluster, "c", "of an earlier agent"));
    put(of(TYPE_URLS.cluster, "c", "3"));
    nack(of(TYPE_URLS.cluster, "c", "3"));
    assert.deepEqual([inForce(TYPE_URLS.cluster), [...standIns.accepted()]], [["c@3"], []]);
  });
});
