import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import type { CommandRunner } from "../../../../agent/interception/command-runner.ts";
import { createCommandRunner } from "../../../../agent/interception/command-runner.ts";
import { readListening } from "../../../../agent/ownership/listening-sockets.ts";
import { parseActivated, parseOrigins, readActivated, readOrigins } from "../../../../agent/ownership/socket-origin.ts";

const failing = (stderr: string): CommandRunner => ({ run: () => Promise.resolve({ code: 1, stdout: "", stderr }), startDetached: () => 0 });

describe("where sockets were made", () => {
  it("is read from what ss prints, by path or number", () => {
    const text = `LISTEN 0      4096         0.0.0.0:22        0.0.0.0:* ino:11 sk:1001 cgroup:/system.slice/ssh.service <-> cgroup:/system.slice/ssh.service
LISTEN 0      511                *:9080            *:* users:(("node",pid=7,fd=18)) uid:2002 ino:12 sk:3 cgroup:/system.slice/reviews.service v6only:0 <-> cgroup:/system.slice/reviews.service
LISTEN 0      511                *:9081            *:* uid:2002 ino:13 sk:3 cgroup:unreachable:1d4f v6only:1 <->
LISTEN 0      511        127.0.0.1:9082      0.0.0.0:* ino:14 sk:4 cgroup:/
LISTEN 0      511        127.0.0.1:9083      0.0.0.0:* ino:15 sk:5 cgroup:/a slice/with blanks <->
`;
    assert.deepEqual([...parseOrigins(text)], [
      [11, { path: "system.slice/ssh.service" }],
      [12, { path: "system.slice/reviews.service" }],
      [13, { id: 0x1d4f }],
      [14, { path: "" }],
      [15, { path: "a slice/with blanks" }],
    ]);
    assert.equal(parseOrigins("").size, 0);
  });

  it("is not what somebody wrote into the name of a control group", () => {
    const forged = "user.slice/x cgroup:/system.slice/reviews.service";
    const found = parseOrigins(`LISTEN 0 1 *:80 *:* uid:1 ino:1 sk:1 cgroup:/${forged} v6only:0 <-> cgroup:/${forged}\n`).get(1);
    assert.deepEqual(found, { path: "user.slice/x" });
  });

  it("is an error where ss tells none, or fails", async () => {
    assert.throws(() => parseOrigins("LISTEN 0 4096 0.0.0.0:22 0.0.0.0:* ino:11 sk:1001 <->\n"), /tells no control groups/);
    await assert.rejects(readOrigins(failing("ss: unrecognized option '--cgroup'\nUsage: ss")), /`ss --cgroup` failed: ss: unrecognized option '--cgroup'$/);
  });

  it("is known of a socket of this process", async () => {
    const server = createServer().listen({ port: 0, host: "::1" });
    try {
      await new Promise((resolve) => server.once("listening", resolve));
      const socket = (await readListening()).find(({ port, address }) => port === (server.address() as AddressInfo).port && address === "::1");
      assert.ok(socket);
      assert.ok((await readOrigins(createCommandRunner())).has(socket.inode));
    } finally {
      server.close();
    }
  });
});

describe("what systemd starts for a port", () => {
  const text = `Listen=/run/dbus/system_bus_socket (Stream)
Triggers=dbus.service

Listen=[::]:9070 (Stream)
Listen=0.0.0.0:9071 (Stream)
Triggers=lazy.service also.service

Listen=[::]:19070 (Stream)
Triggers=other.service

Listen=[::]:9070 (Datagram)
Triggers=udp.service
`;

  it("is what the socket units start that listen on it", () => {
    assert.deepEqual(parseActivated(text, 9_070), ["lazy.service", "also.service"]);
    assert.deepEqual(parseActivated(text, 9_071), ["lazy.service", "also.service"]);
    assert.deepEqual(parseActivated(text, 70), []);
    assert.deepEqual(parseActivated("", 9_070), []);
  });

  it("is an error where systemd does not answer", async () => {
    await assert.rejects(readActivated(failing("Failed to connect to bus: No such file or directory"), "*.socket", 80), /`systemctl show \*\.socket` failed: Failed to connect to bus/);
  });
});
