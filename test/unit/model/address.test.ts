import assert from "node:assert/strict";
import { canonicalAddress, familyOf, isOwnToEachHost } from "../../../model/address.ts";

describe("address", () => {
  it("has a family only where it is one on every host", () => {
    assert.deepEqual(["10.0.0.1", "fd77::1", "fe80::1%eth0", "db.example.com", ""].map(familyOf), ["ipv4", "ipv6", undefined, undefined, undefined]);
  });

  it("is written in one way", () => {
    assert.deepEqual(["FD00:0:0::1", "fd00::1", "2001:db8:0:0:1::1", "10.0.0.1", "::FFFF:a00:1", "fe80::1%eth0", "DB.example.com", ""].map(canonicalAddress), ["fd00::1", "fd00::1", "2001:db8::1:0:0:1", "10.0.0.1", "10.0.0.1", "fe80::1%eth0", "DB.example.com", ""]);
  });

  it("is own to each host where every host would reach itself, its link or nobody", () => {
    for (const address of ["127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "224.0.0.1", "::", "::1", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "localhost", "db.localhost"]) {
      assert.equal(isOwnToEachHost(address), true, address);
    }
    for (const address of ["10.0.0.1", "192.168.0.1", "100.64.0.1", "240.240.0.1", "fd77::1", "2001:db8::1", "::ffff:10.0.0.1", "db.example.com", "localhost.example.com"]) {
      assert.equal(isOwnToEachHost(address), false, address);
    }
  });
});
