import type { Socket } from "node:net";

/** Messages over TCP have a length of two bytes before them (RFC 1035 §4.2.2). Memory is bounded by one message of 64 KiB. */
export function readFrames(socket: Socket, onMessage: (message: Buffer) => void): void {
  let pending: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    while (pending.length >= 2) {
      const end = 2 + pending.readUInt16BE(0);
      if (pending.length < end) return;
      const message = pending.subarray(2, end);
      pending = pending.subarray(end);
      onMessage(message);
    }
  });
}

export function writeFrame(socket: Socket, message: Uint8Array): void {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(message.length, 0);
  socket.write(Buffer.concat([head, message]));
}
