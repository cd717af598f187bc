import assert from "node:assert/strict";
import { joinEndpoints, type ServedMember } from "../../../../discovery/catalog/join-endpoints.ts";
import type { ServicePort } from "../../../../model/port.ts";
import { plainWorkload } from "../../../support/plain-registry.ts";

describe("names of ports", () => {
  const served = (port: ServicePort, ports: Readonly<Record<string, number>>): unknown => {
    const member: ServedMember = { way: "static", ports: [[port.number, port]], workloads: [plainWorkload("10.0.0.1", { ports })], hasGroup: false, allowsPlaintext: true };
    const { endpoints, notes } = joinEndpoints([member], "mesh.internal");
    return endpoints.length === 0 ? notes.map((note) => note.slice(note.indexOf(":") + 2)) : endpoints.map((endpoint) => endpoint.port);
  };

  it("mean ports of the instance, also where everything in JavaScript has something of that name", () => {
    for (const name of ["http", "constructor", "valueOf", "hasOwnProperty"]) {
      assert.deepEqual(served({ name, number: 80, protocol: "HTTP" }, { [name]: 8_080 }), [8_080]);
      assert.deepEqual(served({ name, number: 80, protocol: "HTTP" }, { other: 8_080 }), [80]);
      assert.deepEqual(served({ name: "p", number: 80, protocol: "HTTP", targetPort: name }, { [name]: 8_080 }), [8_080]);
      assert.deepEqual(served({ name: "p", number: 80, protocol: "HTTP", targetPort: name }, { other: 8_080 }), [`has no port ${name}`]);
    }
  });
});
