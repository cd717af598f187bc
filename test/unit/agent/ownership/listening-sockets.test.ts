import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo, Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseListening, readListening, readSocketCounts, receiversOf } from "../../../../agent/ownership/listening-sockets.ts";
import type { ListeningSocket } from "../../../../agent/ownership/listening-sockets.ts";

const V4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const V6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const row = (local: string, state: string, uid: number, inode: number, remote = "00000000:0000"): string =>
  `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000 ${String(uid).padStart(5)}        0 ${inode} 1 0000000000000000 100 0 0 10 0                   `;

describe("the tables of sockets", () => {
  it("give address, port, user and inode of what listens, on machines of either byte order", () => {
    const table = [V4, row("0302A8C0:2378", "0A", 2_002, 4_711), row("00000000:0016", "0A", 4_294_967_294, 12), ""].join("\n");
    assert.deepEqual(parseListening(table, true), [
      { address: "192.168.2.3", port: 9_080, uid: 2_002, inode: 4_711 },
      { address: "0.0.0.0", port: 22, uid: 4_294_967_294, inode: 12 },
    ]);
    assert.equal(parseListening(`${V4}\n${row("C0A80203:2378", "0A", 0, 1)}\n`, false)[0]?.address, "192.168.2.3");
  });

  it("give IPv6 as it is written, every address, and IPv4 inside of it as IPv4", () => {
    const nobody = "00000000000000000000000000000000:0000";
    const locals = ["000077FD000000000000000002000000", "00000000000000000000000000000000", "0000000000000000FFFF000003004D0A"];
    const table = [V6, ...locals.map((local, index) => row(`${local}:2378`, "0A", 0, index, nobody)), ""].join("\n");
    assert.deepEqual(parseListening(table, true).map(({ address }) => address), ["fd77::2", "::", "10.77.0.3"]);
  });

  it("end with the first that does not listen", () => {
    const table = [V4, row("0302A8C0:2378", "0A", 1, 1), row("0302A8C0:2378", "01", 2, 2), "what follows is not even read"].join("\n");
    assert.deepEqual(parseListening(table, true).map(({ inode }) => inode), [1]);
    assert.deepEqual(parseListening("", true), []);
  });

  for (const [what, line] of [
    ["something else", "nonsense"],
    ["half a row", row("0302A8C0:2378", "0A", 1, 1).slice(0, 60)],
    ["an address of another length", row("0302A8C012:2378", "0A", 1, 1)],
    ["a user that is no number", row("0302A8C0:2378", "0A", 1, 1).replace("     1        0 1", "     x        0 1")],
  ] as const) {
    it(`are refused with the row where they hold ${what}`, () => {
      assert.throws(() => parseListening(`${V4}\n${line}\n`, true), (failure: Error) => failure.message.includes(`no row of a socket table: ${JSON.stringify(line.slice(0, 200))}`));
    });
  }

  it("are read from this kernel, and no further than the first that does not listen", async () => {
    const server = createServer().listen({ port: 0, host: "127.0.0.1" });
    const folder = mkdtempSync(join(tmpdir(), "ironmesh-sockets-"));
    try {
      await new Promise((resolve) => server.once("listening", resolve));
      const { port } = server.address() as AddressInfo;
      const found = (await readListening()).filter((socket) => socket.port === port && socket.address === "127.0.0.1");
      assert.deepEqual(found.map(({ uid }) => uid), [process.getuid?.()]);

      const large = join(folder, "tcp");
      const listening = Array.from({ length: 2_000 }, (_, index) => row("0302A8C0:2378", "0A", 1, index + 1));
      writeFileSync(large, [V4, ...listening, row("0302A8C0:2378", "06", 0, 0), ...Array.from({ length: 5_000 }, () => "x".repeat(149))].join("\n"));
      assert.equal((await readListening([large])).length, 2_000);
      assert.deepEqual(await readListening([join(folder, "absent6")]), [], "a kernel without IPv6");
      await assert.rejects(readListening([join(folder, "absent")]), { code: "ENOENT" });
    } finally {
      server.close();
      rmSync(folder, { recursive: true });
    }
  });
});

describe("the counts of sockets", () => {
  it("tell of TCP alone, of either family, without memory", async () => {
    const folder = mkdtempSync(join(tmpdir(), "ironmesh-counts-"));
    try {
      const [first, second] = [join(folder, "sockstat"), join(folder, "sockstat6")];
      writeFileSync(first, "sockets: used 200\nTCP: inuse 154 orphan 7 tw 4022 alloc 463 mem 342\nUDP: inuse 4 mem 0\n");
      assert.equal(await readSocketCounts([first, second]), "TCP: inuse 154 orphan 7 tw 4022 alloc 463");
      writeFileSync(second, "TCP6: inuse 3\nUDP6: inuse 0\n");
      assert.equal(await readSocketCounts([first, second]), "TCP: inuse 154 orphan 7 tw 4022 alloc 463\nTCP6: inuse 3");
      await assert.rejects(readSocketCounts([join(folder, "absent")]), { code: "ENOENT" });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("change with a socket that listens", async () => {
    const inUse = async (): Promise<number> => Number(/TCP: inuse (\d+)/.exec(await readSocketCounts())?.[1]);
    const before = await inUse();
    const servers = await Promise.all(Array.from({ length: 200 }, () => new Promise<Server>((resolve) => {
      const server = createServer().listen({ port: 0, host: "127.0.0.1" }, () => resolve(server));
    })));
    try {
      // Others of this machine may end meanwhile.
      assert.ok((await inUse()) > before + 50);
    } finally {
      for (const server of servers) server.close();
    }
  });
});

describe("who takes a connection to an address and port", () => {
  const socket = (address: string, inode: number, port = 80): ListeningSocket => ({ address, port, uid: 0, inode });
  const takers = (address: string, ...sockets: readonly ListeningSocket[]): readonly number[] => receiversOf({ address, port: 80 }, sockets).map(({ inode }) => inode);

  it("is whoever listens on that address, else on every address of its family, else on every address", () => {
    const [any4, any6, one4, one6] = [socket("0.0.0.0", 1), socket("::", 2), socket("10.0.0.1", 3), socket("fd77::1", 4)];
    assert.deepEqual(takers("10.0.0.1", any4, any6, one4, one6), [3]);
    assert.deepEqual(takers("10.0.0.2", any4, any6, one4, one6), [1]);
    assert.deepEqual(takers("10.0.0.2", any6, one4, one6), [2]);
    assert.deepEqual(takers("fd77::1", any4, any6, one4, one6), [4]);
    assert.deepEqual(takers("fd77::2", any4, any6, one4, one6), [2]);
    assert.deepEqual(takers("fd77::2", any4, one4, one6), []);
  });

  it("are all of those that share it, and none of another port or on loopback alone", () => {
    assert.deepEqual(takers("10.0.0.1", socket("0.0.0.0", 1), socket("0.0.0.0", 2), socket("0.0.0.0", 3, 81), socket("127.0.0.1", 4)), [1, 2]);
    assert.deepEqual(takers("10.0.0.1", socket("127.0.0.1", 4)), []);
  });

  it("is everybody at the port where no address is meant", () => {
    assert.deepEqual(takers("", socket("127.0.0.1", 1), socket("::", 2), socket("::", 3, 81)), [1, 2]);
  });

  it("does not depend on how an address is written", () => {
    assert.deepEqual(takers("FD77:0::1", socket("fd77::1", 1), socket("::", 2)), [1]);
  });
});
