import assert from "node:assert/strict";

import { assert as check, array, property, uniqueArray, string, constantFrom } from "fast-check";

import { redact } from "../../../agent/admin.ts";
import { chooseAddresses } from "../../../agent/host-address.ts";
import { assignOutboundPorts } from "../../../agent/outbound-ports.ts";

const at = (...addresses: string[]) => addresses.map((address) => ({ address, internal: address === "127.0.0.1" }));

describe("addresses of a host", () => {
  const interfaces = { docker0: at("172.17.0.1"), eth1: at("10.0.1.9", "fd77::9"), eth0: at("192.168.0.20", "192.168.0.3", "fe80::1", "fd88::2"), lo: at("127.0.0.1") };

  it("are those of the default route's interface, lowest first, never link-local", () => {
    const choice = chooseAddresses(interfaces, { v4: "eth0", v6: "eth1" }, undefined);
    assert.deepEqual(choice.addresses, ["192.168.0.3", "fd77::9"]);
    assert.deepEqual(choice.reasons, ["192.168.0.3 (eth0): the default route's interface, of 4 candidates", "fd77::9 (eth1): the default route's interface, of 2 candidates"]);
  });

  it("are the first by name without a default route, and exactly the wanted ones where told", () => {
    assert.deepEqual(chooseAddresses(interfaces, {}, undefined).addresses, ["172.17.0.1", "fd88::2"]);
    assert.deepEqual(chooseAddresses(interfaces, {}, ["fd77::/16", "192.168.0.20", "203.0.113.1"]).addresses, ["fd77::9", "192.168.0.20"]);
    assert.deepEqual(chooseAddresses({ lo: at("127.0.0.1") }, {}, undefined).addresses, []);
  });
});

describe("outbound ports", () => {
  it("stay with their workloads when others come and go", () => {
    const first = assignOutboundPorts(["a", "b"], {}, [15_100, 15_109]);
    assert.deepEqual(first, { a: 15_100, b: 15_101 });
    assert.deepEqual(assignOutboundPorts(["c", "b"], first, [15_100, 15_109]), { b: 15_101, c: 15_100 });
  });

  it("are distinct and in the first half of the range, whatever was stored", () => {
    check(
      property(uniqueArray(string(), { maxLength: 5 }), array(constantFrom(15_100, 15_101, 15_104, 15_105, 1, -3)), (names, stored) => {
        const before = Object.fromEntries(names.map((name, index) => [name, stored[index] ?? 0]));
        const ports = Object.values(assignOutboundPorts(names, before, [15_100, 15_109]));
        assert.equal(new Set(ports).size, names.length);
        assert.ok(ports.every((port) => port >= 15_100 && port <= 15_104));
      }),
    );
  });
});

describe("what people see of Envoy", () => {
  it("has no secrets in it, at any depth", () => {
    const dump = redact({ configs: [{ secret: { tls_certificate: { private_key: { inline_bytes: "KEY" }, certificate_chain: "public" } } }] });
    assert.doesNotMatch(JSON.stringify(dump), /KEY/);
    assert.match(JSON.stringify(dump), /public/);
  });
});
