import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeSockets, parseSocketTable, passedDescriptors, socketsAt } from "../../../../agent/dns/passed-sockets.ts";

const PID = 4_711;

describe("sockets that systemd passes", () => {
  it("are counted from descriptor 3 on, for this process alone", () => {
    assert.deepEqual(passedDescriptors({ LISTEN_PID: "4711", LISTEN_FDS: "4", LISTEN_FDNAMES: "a:b" }, PID), { descriptors: [3, 4, 5, 6], problems: [] });
    for (const environment of [{}, { LISTEN_PID: "4712", LISTEN_FDS: "4" }, { LISTEN_FDS: "4" }, { LISTEN_PID: "4711" }, { LISTEN_PID: "4711x", LISTEN_FDS: "4" }, { LISTEN_PID: "4711", LISTEN_FDS: "0" }]) {
      assert.deepEqual(passedDescriptors(environment, PID), { descriptors: [], problems: [] }, JSON.stringify(environment));
    }
  });

  it("are not used where their number is none, which is said", () => {
    for (const LISTEN_FDS of ["", "many", "-1", "3.5", "65", "1000", "0x4", " 4", "9".repeat(400)]) {
      const { descriptors, problems } = passedDescriptors({ LISTEN_PID: "4711", LISTEN_FDS }, PID);
      assert.deepEqual(descriptors, [], LISTEN_FDS);
      assert.match(problems.join(), /^LISTEN_FDS is ".*": it must be a number up to 64; the sockets are not used$/);
      assert.ok(problems.join().length < 200, "what came from outside is not repeated at length");
    }
  });

  it("are told apart by the kernel's tables, whatever else is passed", async () => {
    const proc = await mkdtemp(join(tmpdir(), "ironmesh-proc-"));
    try {
      await mkdir(join(proc, "net"));
      await mkdir(join(proc, "fd"));
      const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
      const line = (local: string, state: string, inode: number): string => ` 10: ${local} ${"0".repeat(8)}:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 2 0000000000000000 0\n`;
      await writeFile(join(proc, "net/udp"), head + line("0100007F:3ACD", "07", 100));
      await writeFile(join(proc, "net/udp6"), head + line("00000000000000000000000001000000:3ACD", "07", 101));
      await writeFile(join(proc, "net/tcp"), `${head}${line("0100007F:3ACD", "0A", 102)}${line("0100007F:3ACD", "01", 103)}nonsense\n 1: ZZ:1 x\n`);
      for (const [descriptor, target] of [[3, "socket:[100]"], [4, "socket:[101]"], [5, "socket:[102]"], [6, "socket:[103]"], [7, "/dev/null"], [8, "socket:[999]"]] as const) await symlink(target, join(proc, "fd", String(descriptor)));
      const { sockets, problems } = await describeSockets([3, 4, 5, 6, 7, 8, 9], proc);
      assert.deepEqual(sockets, [
        { descriptor: 3, transport: "udp", address: "127.0.0.1", port: 15_053 },
        { descriptor: 4, transport: "udp", address: "::1", port: 15_053 },
        { descriptor: 5, transport: "tcp", address: "127.0.0.1", port: 15_053 },
      ]);
      assert.deepEqual(problems, [6, 7, 8, 9].map((descriptor) => `descriptor ${descriptor} is no socket that listens by UDP or TCP`));
    } finally {
      await rm(proc, { recursive: true });
    }
  });

  it("are found in this process's own tables", async () => {
    const server = createServer().listen(0, "::1");
    const socket = createSocket("udp4").bind(0, "127.0.0.1");
    await Promise.all([once(server, "listening"), once(socket, "listening")]);
    try {
      const address = server.address();
      const tcp = typeof address === "object" && address !== null ? address.port : 0;
      const { sockets } = await describeSockets(Array.from({ length: 200 }, (_, descriptor) => descriptor));
      assert.ok(sockets.some((one) => one.transport === "tcp" && one.address === "::1" && one.port === tcp));
      assert.ok(sockets.some((one) => one.transport === "udp" && one.address === "127.0.0.1" && one.port === socket.address().port));
    } finally {
      server.close();
      socket.close();
    }
  });

  it("are taken where they are ours; each other one is named with what to change", () => {
    const at = (descriptor: number, transport: "udp" | "tcp", address: string, port: number) => ({ descriptor, transport, address, port });
    const found = socketsAt(
      { sockets: [at(3, "udp", "127.0.0.1", 15_053), at(4, "udp", "127.0.0.1", 15_054), at(5, "tcp", "0.0.0.0", 15_053), at(6, "udp", "127.0.0.1", 15_053), at(7, "tcp", "::1", 15_053)], problems: ["earlier"] },
      ["127.0.0.1", "::1"],
      15_053,
    );
    assert.deepEqual([...found.at], [["udp 127.0.0.1", 3], ["tcp ::1", 7]]);
    assert.equal(found.problems.length, 4);
    assert.match(found.problems[1] ?? "", /^the socket udp 127\.0\.0\.1 port 15054 is not one of dns\.port 15053 on 127\.0\.0\.1, ::1: write the same port into agent\.yaml and, by systemctl edit, into ironmesh-dns\.socket$/);
  });

  it("are nothing in a table that is no table", () => {
    for (const text of ["", "\n\n", "x y z", "0: 0100007F:3ACD"]) assert.deepEqual(parseSocketTable(text, "udp"), []);
  });
});
