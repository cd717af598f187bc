import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";

/** A way to a port of loopback on which answers are cut in the middle of whatever they are. */
export interface ShortLivedRelay {
  readonly port: number;
  /** How many connections it has ended. */
  cuts(): number;
  /** From now on it passes everything. */
  heal(): void;
  close(): Promise<void>;
}

/** @param lifeBytes after how many bytes of an answer a new connection ends */
export async function startShortLivedRelay(targetPort: number, lifeBytes: () => number): Promise<ShortLivedRelay> {
  let isWell = false;
  let cuts = 0;
  const open = new Set<() => void>();
  const server = createServer((incoming) => {
    const outgoing = connect(targetPort, "127.0.0.1");
    let left = lifeBytes();
    const end = (): void => {
      open.delete(end);
      incoming.destroy();
      outgoing.destroy();
    };
    open.add(end);
    incoming.pipe(outgoing);
    outgoing.on("data", (chunk: Buffer) => {
      if (isWell || chunk.length <= left) {
        left -= chunk.length;
        incoming.write(chunk);
        return;
      }
      cuts += 1;
      outgoing.pause();
      incoming.write(chunk.subarray(0, left), end);
    });
    for (const side of [incoming, outgoing]) side.on("error", end).on("close", end);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    cuts: () => cuts,
    heal() {
      isWell = true;
    },
    async close() {
      for (const end of open) end();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
