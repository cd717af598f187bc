import assert from "node:assert/strict";

import { agentConfigJsonSchema, parseAgentConfig, parseHostPort, workloadName } from "../../../agent/config.ts";
import { formatIssue } from "../../../base/issue.ts";

const minimal = "controlPlane:\n  address: cp.example:15012\n";

function rejected(text: string): string[] {
  const parsed = parseAgentConfig(text, "agent.yaml");
  assert.equal(parsed.ok, false);
  return parsed.ok ? [] : parsed.error.map(formatIssue);
}

describe("agent configuration", () => {
  it("fills every default from one address", () => {
    const parsed = parseAgentConfig(minimal, "agent.yaml");
    assert.ok(parsed.ok);
    assert.deepEqual(parsed.value.controlPlane.address, ["cp.example:15012"]);
    assert.equal(parsed.value.ports.inbound, 15_006);
    assert.deepEqual(parsed.value.ports.outboundRange, [15_100, 15_199]);
    assert.equal(parsed.value.dns.mode, "listen");
    assert.equal(parsed.value.capture.outbound.scope, "all");
    assert.equal(parsed.value.stateDir, "/var/lib/ironmesh");
    assert.equal(parsed.value.probes.allowExec, false);
  });

  it("names a workload after its group", () => {
    const parsed = parseAgentConfig(`${minimal}workloads:\n- group: shop/reviews\n  bind: {uid: 1000}\n`, "agent.yaml");
    assert.ok(parsed.ok);
    assert.deepEqual(parsed.value.workloads.map(workloadName), ["reviews"]);
  });

  it("rejects an unknown field with its place and the likely meaning", () => {
    assert.deepEqual(rejected(`${minimal}envoy:\n  usr: proxy\n`), [
      "agent.yaml:4:3: error IM0002 envoy.usr: unknown field (did you mean user?)",
    ]);
  });

  it("collects all issues, each at its own line", () => {
    const issues = rejected("controlPlane: {}\nworkloads:\n- group: reviews\n  bind: {uid: 1, ports: [80]}\ndns:\n  mode: always\n");
    assert.equal(issues.length, 4);
    assert.match(issues[0] ?? "", /^agent\.yaml:1:1: error IM0003 controlPlane\.address: is missing/);
    assert.match(issues[1] ?? "", /^agent\.yaml:3:3: .*workloads\[0\]\.group: must read NAMESPACE\/NAME/);
    assert.match(issues[2] ?? "", /^agent\.yaml:4:3: .*exactly one of uid, systemdUnit, cgroup, ports/);
    assert.match(issues[3] ?? "", /^agent\.yaml:6:3: .*dns\.mode/);
  });

  it("reports broken YAML and duplicate keys with their line", () => {
    assert.match(rejected("controlPlane: [")[0] ?? "", /^agent\.yaml:1:\d+: error IM0001 /);
    assert.match(rejected(`${minimal}log: {}\nlog: {}\n`)[0] ?? "", /^agent\.yaml:4:1: error IM0001 .*unique/);
    assert.match(rejected("")[0] ?? "", /controlPlane: is missing/);
  });

  const conflicts: readonly (readonly [string, string, RegExp])[] = [
    ["two workloads of one name", "workloads:\n- {group: a/x, bind: {uid: 1}}\n- {group: b/x, bind: {uid: 2}}\n", /workloads\[1\]: workloads\[0\] has the name x too/],
    ["one port bound twice", "workloads:\n- {group: a/x, bind: {ports: [80]}}\n- {group: a/y, bind: {ports: [80]}}\n", /port 80 is bound to workloads\[0\] already/],
    ["a range that is too small", "ports: {outboundRange: [15100, 15102]}\nworkloads:\n- {group: a/x, bind: {uid: 1}}\n- {group: a/y, bind: {uid: 2}}\n", /holds 3 ports, 2 workloads need 4/],
    ["two listeners on one port", "ports: {status: 15021}\n", /port 15021 is ports\.status already/],
    ["a listener in the outbound range", "dns: {port: 15150}\n", /dns\.port: port 15150 lies in ports\.outboundRange/],
    ["Envoy as root", "envoy: {user: root}\n", /must not run as root/],
    ["a cgroup that climbs out", "workloads:\n- {group: a/x, bind: {cgroup: ../x}}\n", /cgroup v2 root/],
  ];
  for (const [what, yaml, message] of conflicts) {
    it(`rejects ${what}`, () => {
      assert.match(rejected(minimal + yaml).join("\n"), message);
    });
  }

  it("describes every field in the JSON schema", () => {
    const walk = (node: unknown, path: string): void => {
      if (typeof node !== "object" || node === null) return;
      for (const [key, child] of Object.entries((node as { properties?: object }).properties ?? {})) {
        assert.ok((child as { description?: string }).description, `${path}.${key} has no description`);
      }
      for (const [key, child] of Object.entries(node)) walk(child, `${path}.${key}`);
    };
    walk(agentConfigJsonSchema(), "");
  });

  it("reads addresses with and without port", () => {
    assert.deepEqual(parseHostPort("cp", 1), { host: "cp", port: 1 });
    assert.deepEqual(parseHostPort("[fd77::1]:9", 1), { host: "fd77::1", port: 9 });
    assert.deepEqual(parseHostPort("fd77::1", 1), { host: "fd77::1", port: 1 });
    for (const text of ["", "a b", "x:0", "x:65536", "[x]:1", "a:1:2", "[::1"]) assert.equal(parseHostPort(text, 1), undefined, text);
  });
});
