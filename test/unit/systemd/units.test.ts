import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { AGENT_DEFAULTS } from "../../../agent/config.ts";
import { NAMES_FOLDER } from "../../../agent/dns/names-on-disk.ts";
import { BOOT_GUARD_FILE } from "../../../agent/interception/boot-guard.ts";
import { CONTROL_PLANE_DEFAULTS } from "../../../cli/control-plane/config.ts";

const root = join(import.meta.dirname, "../../..");
const CLONE = "/opt/ironmesh/";

/** The values of a unit's settings; a unit may say one several times. */
function settings(unit: string): (key: string) => readonly string[] {
  const lines = readFileSync(join(root, "systemd", unit), "utf8").split("\n");
  return (key) => lines.filter((line) => line.startsWith(`${key}=`)).map((line) => line.slice(key.length + 1));
}

describe("units", () => {
  const agent = settings("ironmesh-agent.service");
  const controlPlane = settings("ironmesh-control-plane.service");

  it("keep the folders that the configurations name by default", () => {
    assert.deepEqual(agent("StateDirectory"), [AGENT_DEFAULTS.stateDir.replace("/var/lib/", "")]);
    assert.deepEqual(agent("RuntimeDirectory"), [AGENT_DEFAULTS.runDir.replace("/run/", "")]);
    assert.deepEqual(controlPlane("StateDirectory"), [CONTROL_PLANE_DEFAULTS.stateDir.replace("/var/lib/", "")]);
    assert.deepEqual(controlPlane("RuntimeDirectory"), [dirname(CONTROL_PLANE_DEFAULTS.apiSocket).replace("/run/", "")]);
  });

  it("run files that a clone has, with the file that the guide writes", () => {
    const guide = readFileSync(join(root, "docs/getting-started.md"), "utf8");
    for (const [command = ""] of [agent("ExecStart"), controlPlane("ExecStart")]) {
      const words = command.split(" ");
      const own = words.filter((word) => word.startsWith(CLONE)).map((word) => word.slice(CLONE.length));
      assert.deepEqual(own, ["node_modules/.bin/node", "cli/main.ts"]);
      for (const file of own) assert.ok(existsSync(join(root, file)), file);
      assert.ok(guide.includes(`\`${words.at(-1)}\``), words.at(-1));
    }
  });

  it("leave Envoy and its sockets to the next agent", () => {
    assert.deepEqual(agent("KillMode"), ["process"]);
    assert.deepEqual(agent("RuntimeDirectoryPreserve"), ["yes"]);
  });

  it("are enabled together: the agent's, the sockets of its DNS, and the one that keeps ports closed until it runs", () => {
    assert.deepEqual(agent("Also"), ["ironmesh-guard.service ironmesh-dns.socket"]);
    assert.deepEqual(settings("ironmesh-guard.service")("ExecStart"), [`/usr/sbin/nft -f ${AGENT_DEFAULTS.stateDir}/${BOOT_GUARD_FILE}`]);
  });

  it("keep the sockets of dns.port open for the agent, and for who answers in its place", () => {
    const socket = settings("ironmesh-dns.socket");
    const places = ["127.0.0.1", "[::1]"].map((address) => `${address}:${AGENT_DEFAULTS.dnsPort}`);
    assert.deepEqual([socket("ListenDatagram"), socket("ListenStream")], [places, places]);
    assert.deepEqual(socket("Service"), ["ironmesh-dns.service"]);
    assert.deepEqual(agent("Sockets"), ["ironmesh-dns.socket"]);
    assert.deepEqual(agent("ExecStartPost"), ["-+systemctl --no-block stop ironmesh-dns.service"]);
  });

  it("show whoever answers in the agent's place names alone, as a user of its own", () => {
    const standby = settings("ironmesh-dns.service");
    const [, folder = ""] = standby("BindReadOnlyPaths")[0]?.split(":") ?? [];
    assert.equal(standby("BindReadOnlyPaths")[0], `-${join(AGENT_DEFAULTS.stateDir, NAMES_FOLDER)}:${folder}`);
    assert.equal(standby("ExecStart")[0]?.replace(" dns ", " agent "), `${agent("ExecStart")[0]} --names ${folder}`);
    // It would be given to that user.
    assert.deepEqual([standby("DynamicUser"), standby("StateDirectory")], [["yes"], []]);
  });

  it("do not bring back an agent that left", () => {
    assert.deepEqual(agent("Restart"), ["on-failure"]);
  });
});
