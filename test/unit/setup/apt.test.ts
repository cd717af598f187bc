import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { describe, it } from "mocha";

interface Apt {
  readonly remedyFor: (output: string) => { readonly name: string } | undefined;
}

const { remedyFor } = createRequire(import.meta.url)("../../../setup/apt.cjs") as Apt;

/** What apt of Debian 12 prints, and what the set-up does about it. */
const COMPLAINTS: readonly (readonly [state: string, remedy: string | undefined, output: string])[] = [
  ["a fresh image without package lists", "update", "Reading package lists...\nE: Unable to locate package nftables\n"],
  ["a name that is known but has no version", "update", "Package iptables is not available, but is referred to by another package.\nE: Package 'iptables' has no installation candidate\n"],
  [
    "lists that name a version which is gone",
    "update",
    "Err:1 http://deb.debian.org/debian bookworm/main amd64 curl amd64 7.88.1-10+deb12u5\n  404  Not Found\nE: Failed to fetch http://deb.debian.org/debian/pool/main/c/curl/curl_7.88.1-10%2bdeb12u5_amd64.deb  404  Not Found\nE: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?\n",
  ],
  ["an installation that was cut short", "configure", "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem. \n"],
  ["another apt that does not end", undefined, "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (unattended-upgr)\n"],
  ["a full disk", undefined, "E: You don't have enough free space in /var/cache/apt/archives/.\n"],
];

describe("what helps when apt fails", () => {
  for (const [state, remedy, output] of COMPLAINTS) {
    it(`${state}: ${remedy ?? "nothing that we may do"}`, () => {
      assert.equal(remedyFor(output)?.name, remedy);
    });
  }
});
