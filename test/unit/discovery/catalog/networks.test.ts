import assert from "node:assert/strict";
import { joinEndpoints, type ServedMember } from "../../../../discovery/catalog/join-endpoints.ts";
import { plainWorkload } from "../../../support/plain-registry.ts";

/** What one cluster's service has: an instance at each address. */
function member(registry: string, network: string, ...addresses: readonly string[]): ServedMember {
  const workloads = addresses.map((address) => ({ ...plainWorkload(address, { network, ports: { http: 8_080 }, source: { registry, object: address } }), key: `${registry}/${address}` }));
  return { way: "static", ports: [[80, { name: "http", number: 80, protocol: "HTTP", targetPort: "http" }]], workloads, hasGroup: false, allowsPlaintext: true };
}

describe("endpoints of several networks", () => {
  it("are told where they have one address: hosts have one way to it", () => {
    const { endpoints, notes } = joinEndpoints([member("east", "", "10.0.0.1", "10.0.0.2", "10.0.0.3"), member("west", "west", "10.0.0.1", "10.0.0.3", "10.0.0.4")], "mesh.internal");
    assert.equal(endpoints.length, 6);
    assert.deepEqual(notes, ["10.0.0.1:8080 and 1 more are told of several networks (the mesh's own, west): from a host an address leads to one place"]);
  });

  it("are one where they are of one network, and nothing to tell where addresses differ", () => {
    const same = joinEndpoints([member("east", "", "10.0.0.1"), member("west", "", "10.0.0.1")], "mesh.internal");
    assert.deepEqual([same.endpoints.length, same.notes], [1, []]);
    assert.deepEqual(joinEndpoints([member("east", "", "10.0.0.1"), member("west", "west", "10.0.0.2")], "mesh.internal").notes, []);
    const [one] = joinEndpoints([member("east", "", "10.0.0.1"), member("west", "west", "10.0.0.1")], "mesh.internal").notes;
    assert.equal(one, "10.0.0.1:8080 is told of several networks (the mesh's own, west): from a host an address leads to one place");
  });
});
