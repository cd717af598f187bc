import assert from "node:assert/strict";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { inboundPlaces, ownVersion, withholdPlaces } from "../../../../agent/ownership/inbound-places.ts";
import type { InboundPlace } from "../../../../agent/ownership/inbound-places.ts";
import { ClusterSchema } from "../../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import { ListenerSchema } from "../../../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { createResource } from "../../../../xds/resource.ts";
import type { Resource } from "../../../../xds/resource.ts";
import { createResourceSet } from "../../../../xds/resource-set.ts";
import type { ResourceSet } from "../../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../../xds/type-urls.ts";

const INBOUND = 15_006;

interface ChainSketch {
  readonly name: string;
  readonly port?: number;
  readonly addresses?: readonly string[];
}

function listener(name: string, port: number, chains: readonly ChainSketch[]): Resource {
  const message = create(ListenerSchema, {
    name,
    address: { address: { case: "socketAddress", value: { address: "0.0.0.0", portSpecifier: { case: "portValue", value: port } } } },
    filterChains: chains.map(({ name, port, addresses = [] }) => ({
      name,
      filterChainMatch: {
        ...(port === undefined ? {} : { destinationPort: port }),
        prefixRanges: addresses.map((text) => {
          const [addressPrefix = "", length] = text.split("/");
          return { addressPrefix, prefixLen: Number(length ?? (addressPrefix.includes(":") ? 128 : 32)) };
        }),
        transportProtocol: "tls",
      },
    })),
    defaultFilterChain: { name: "refused" },
  });
  return createResource(TYPE_URLS.listener, name, toBinary(ListenerSchema, message));
}

function setOf(...resources: readonly Resource[]): ResourceSet {
  const set = createResourceSet();
  set.update((transaction) => resources.forEach((one) => transaction.upsert(one)));
  return set;
}

const cluster = (port: number): Resource => createResource(TYPE_URLS.cluster, `inbound|${port}||`, toBinary(ClusterSchema, create(ClusterSchema, { name: `inbound|${port}||`, altStatName: "real" })));
const BOTH = ["10.0.0.1", "fd77::1"];
const HOST = setOf(
  listener("virtualInbound", INBOUND, [
    { name: "web|8080|mtls", port: 8_080, addresses: BOTH },
    { name: "web|8080|plain", port: 8_080, addresses: BOTH },
    { name: "db|9090|mtls", port: 9_090 },
  ]),
  listener("outbound", 15_100, [{ name: "web|8080|mtls", port: 8_080, addresses: BOTH }]),
  cluster(8_080),
  cluster(9_090),
);
const WEB: readonly InboundPlace[] = BOTH.map((address) => ({ workload: "web", address, port: 8_080 }));
const DB: InboundPlace = { workload: "db", address: "", port: 9_090 };

/** What Envoy is told of the inbound listener: its chains with their addresses; and the clusters that lead nowhere. */
function shown(withheld: readonly InboundPlace[], set = HOST): unknown {
  const resources = withholdPlaces(set, INBOUND, withheld);
  return resources.map(({ typeUrl, name, bytes }) => {
    if (typeUrl === TYPE_URLS.cluster) return fromBinary(ClusterSchema, bytes).altStatName === "" ? name : "";
    const { filterChains, defaultFilterChain } = fromBinary(ListenerSchema, bytes);
    assert.equal(defaultFilterChain?.name, "refused");
    assert.ok(filterChains.every(({ filterChainMatch }) => filterChainMatch?.transportProtocol === "tls"));
    return filterChains.map((chain) => `${chain.name} ${chain.filterChainMatch?.prefixRanges.map(({ addressPrefix }) => addressPrefix).join(",")}`);
  });
}

describe("the places of an inbound listener", () => {
  it("are what its chains serve, each once, and no other listener's", () => {
    assert.deepEqual(inboundPlaces(HOST, INBOUND), [...WEB, DB]);
    assert.deepEqual(inboundPlaces(setOf(), INBOUND), []);
  });

  it("are nobody's where a chain names no workload or no port; a range of addresses is every address", () => {
    const chains = [{ name: "refused", port: 1 }, { name: "a|1|mtls" }, { name: "", port: 1 }, { name: "web|odd|80|mtls", port: 80, addresses: ["10.0.0.0/8"] }];
    assert.deepEqual(inboundPlaces(setOf(listener("in", INBOUND, chains)), INBOUND), [{ workload: "web|odd", address: "", port: 80 }]);
  });
});

describe("what is withheld from Envoy", () => {
  it("is nothing where nothing is", () => {
    assert.deepEqual(withholdPlaces(HOST, INBOUND, []), []);
  });

  it("is a workload's every chain, and its port leads nowhere; the others stay", () => {
    assert.deepEqual(shown(WEB), [["db|9090|mtls "], "inbound|8080||"]);
    assert.deepEqual(shown([DB]), [["web|8080|mtls 10.0.0.1,fd77::1", "web|8080|plain 10.0.0.1,fd77::1"], "inbound|9090||"]);
    assert.deepEqual(shown([...WEB, DB]), [[], "inbound|8080||", "inbound|9090||"]);
  });

  it("is one address of it, and its port serves the other", () => {
    assert.deepEqual(shown(WEB.slice(1)), [["web|8080|mtls 10.0.0.1", "web|8080|plain 10.0.0.1", "db|9090|mtls "]]);
  });

  it("is nothing of a place that is not served, or another workload's", () => {
    assert.deepEqual(shown([{ ...DB, workload: "web" }]), [["web|8080|mtls 10.0.0.1,fd77::1", "web|8080|plain 10.0.0.1,fd77::1", "db|9090|mtls "]]);
    assert.deepEqual(shown([DB], setOf()), []);
  });

  it("has a version of its own, that tells the one of the control plane", () => {
    const versions = [WEB, WEB.slice(1), [DB]].map((withheld) => withholdPlaces(HOST, INBOUND, withheld)[0]?.version ?? "");
    const own = HOST.get(TYPE_URLS.listener, "virtualInbound")?.version;
    assert.equal(new Set([own, ...versions]).size, 4);
    for (const version of versions) assert.equal(ownVersion(version), own);
    assert.equal(ownVersion(own ?? ""), own);
    assert.equal(withholdPlaces(HOST, INBOUND, WEB.toReversed())[0]?.version, versions[0]);
  });
});
