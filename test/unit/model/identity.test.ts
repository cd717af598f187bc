import assert from "node:assert/strict";
import * as fc from "fast-check";
import { describe, it } from "mocha";

import {
  classOf,
  controlPlaneId,
  formatSpiffeId,
  hostDnsName,
  hostIdentity,
  isMeshTrustDomain,
  parseSpiffeId,
  workloadId,
} from "../../../model/identity.ts";

describe("SPIFFE IDs", () => {
  const valid = [
    "spiffe://mesh.internal",
    "spiffe://mesh.internal/ns/default/sa/web",
    "spiffe://a_b-c.9/A.b_c-D/...",
    `spiffe://${"a".repeat(255)}/x`,
    `spiffe://td/${"a".repeat(2048 - "spiffe://td/".length)}`,
  ];
  for (const text of valid) {
    it(`reads and writes ${text.slice(0, 60)}`, () => {
      const parsed = parseSpiffeId(text);
      assert.ok(parsed.ok);
      assert.equal(formatSpiffeId(parsed.value), text);
    });
  }

  const invalid = [
    "",
    "mesh.internal/ns/a/sa/b",
    "SPIFFE://td/x",
    "https://td/x",
    "spiffe://",
    "spiffe:///ns/a/sa/b",
    "spiffe://Td/x",
    "spiffe://td:80/x",
    "spiffe://user@td/x",
    "spiffe://td/",
    "spiffe://td/x/",
    "spiffe://td//x",
    "spiffe://td/./x",
    "spiffe://td/x/..",
    "spiffe://td/x%2Fy",
    "spiffe://td/x?q=1",
    "spiffe://td/x#f",
    "spiffe://td/ä",
    "spiffe://td/x\n",
    "spiffe://td\u0000/x",
    `spiffe://${"a".repeat(256)}/x`,
    `spiffe://td/${"a".repeat(2049 - "spiffe://td/".length)}`,
  ];
  for (const text of invalid) {
    it(`rejects ${JSON.stringify(text).slice(0, 60)}`, () => assert.equal(parseSpiffeId(text).ok, false));
  }

  it("keeps any text that it accepts as it is", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z0-9._-]{1,20}(\/[A-Za-z0-9._/%-]{0,20})?$/), (rest) => {
        const parsed = parseSpiffeId(`spiffe://${rest}`);
        if (parsed.ok) assert.equal(formatSpiffeId(parsed.value), `spiffe://${rest}`);
      }),
    );
  });
});

describe("identity classes", () => {
  it("tells the three apart", () => {
    assert.deepEqual(classOf(workloadId("td", "shop", "web")), { kind: "workload", trustDomain: "td", namespace: "shop", serviceAccount: "web" });
    assert.deepEqual(classOf(hostIdentity("td", "h-1")), { kind: "host", trustDomain: "td", hostId: "h-1" });
    assert.deepEqual(classOf(controlPlaneId("td", "cp-1")), { kind: "control-plane", trustDomain: "td", replica: "cp-1" });
  });

  it("gives nothing else a class", () => {
    for (const path of ["", "/ns/a", "/ns/a/sa", "/ns/a/sa/b/c", "/ns/a/host/b", "/host", "/host/a/b", "/host/UP", "/control-plane", "/control-plane/a/sa/b", "/x/y", "/ns/host"]) {
      assert.equal(classOf({ trustDomain: "td", path }), undefined, path);
    }
  });

  it("does not let a name cross into another class", () => {
    for (const name of ["a/b", "..", "", "a b", "a\n"]) {
      assert.throws(() => workloadId("td", name, "sa"), /not a SPIFFE ID/);
      assert.throws(() => workloadId("td", "ns", name), /not a SPIFFE ID/);
      assert.throws(() => controlPlaneId("td", name), /not a SPIFFE ID/);
      assert.throws(() => hostIdentity("td", name), /not a host id/);
    }
  });

  it("names a host in DNS", () => {
    assert.equal(hostDnsName("web-1", "mesh.internal"), "web-1.host.mesh.internal");
    assert.ok(isMeshTrustDomain("mesh.internal"));
    for (const domain of ["", "a..b", "a_b", "-a", "a".repeat(64), Array.from({ length: 60 }, () => "abc").join(".")]) {
      assert.equal(isMeshTrustDomain(domain), false, domain);
    }
  });
});
