import type { Writable } from "node:stream";
import { frameHeader } from "./deframer.ts";
import { GrpcError } from "./status.ts";

/**
 * One message as one or more byte pieces. Pieces may be shared by any number
 * of streams: they are read, never kept longer than the write, never changed.
 */
export type MessageBytes = Uint8Array | readonly Uint8Array[];

const PIECE_BYTES = 32 * 1024;
/** From here on a part is written as it is; smaller ones are gathered. */
const WHOLE_PART_BYTES = 8 * 1024;
/** 16 MiB at most: as many as are under way when hundreds of streams are pushed to at once. */
const SPARE_PIECES = 512;
const sparePieces: Buffer[] = [];

/** Writes messages to a stream without ever giving it more than one small piece at a time. */
export interface PacedWriter {
  /**
   * Queues a message. Resolves when its last byte has been taken by the
   * connection. Rejects with RESOURCE_EXHAUSTED where the queue is full, and
   * with the reason of `fail` where the stream ends first.
   */
  write(message: MessageBytes): Promise<void>;
  /** Bytes that are queued and not yet taken. */
  queuedBytes(): number;
  /** Resolves when nothing is queued. */
  idle(): Promise<void>;
  /** Drops what is queued and refuses more. */
  fail(reason: Error): void;
}

interface Queued {
  readonly parts: readonly Uint8Array[];
  part: number;
  offset: number;
  readonly resolve: () => void;
  readonly reject: (reason: Error) => void;
}

/**
 * Paces by the write callback, in pieces of 32 KiB: a TLS session keeps the
 * memory of the largest write that it ever saw, so that writing a megabyte at
 * once costs a megabyte per connection for ever.
 *
 * @param maxQueuedBytes one message is always taken; another only where it fits
 */
export function createPacedWriter(stream: Writable, maxQueuedBytes: number): PacedWriter {
  const queue: Queued[] = [];
  let queuedBytes = 0;
  let isWriting = false;
  let failure: Error | undefined;
  let idleWaiters: (() => void)[] = [];

  const settleIdle = (): void => {
    const waiters = idleWaiters;
    idleWaiters = [];
    for (const resolve of waiters) resolve();
  };

  const fail = (reason: Error): void => {
    if (failure !== undefined) return;
    failure = reason;
    queuedBytes = 0;
    for (const entry of queue.splice(0)) entry.reject(reason);
    settleIdle();
  };

  const pump = (): void => {
    if (isWriting || failure !== undefined || queue.length === 0) return;
    const { piece, scratch, finished } = nextPiece(queue);
    isWriting = true;
    stream.write(piece, (error) => {
      isWriting = false;
      if (error) {
        // The scratch is dropped: the connection may still hold it.
        fail(new GrpcError("UNAVAILABLE", "the stream was lost while writing", error));
        for (const entry of finished) entry.reject(failure ?? error);
        return;
      }
      if (scratch !== undefined && sparePieces.length < SPARE_PIECES) sparePieces.push(scratch);
      queuedBytes = Math.max(0, queuedBytes - piece.length);
      for (const entry of finished) entry.resolve();
      if (queue.length === 0) settleIdle();
      pump();
    });
  };

  return {
    write(message) {
      if (failure !== undefined) return Promise.reject(failure);
      const parts = message instanceof Uint8Array ? [message] : message;
      const length = parts.reduce((sum, part) => sum + part.length, 0);
      if (queue.length > 0 && queuedBytes + length > maxQueuedBytes) {
        return Promise.reject(new GrpcError("RESOURCE_EXHAUSTED", "the peer reads too slowly: the queue of its stream is full"));
      }
      return new Promise((resolve, reject) => {
        queue.push({ parts: [frameHeader(length), ...parts], part: 0, offset: 0, resolve, reject });
        queuedBytes += length + 5;
        pump();
      });
    },
    queuedBytes: () => queuedBytes,
    idle: () => (queue.length === 0 && !isWriting ? Promise.resolve() : new Promise((resolve) => idleWaiters.push(resolve))),
    fail,
  };
}

interface Piece {
  readonly piece: Uint8Array;
  /** The pooled buffer behind `piece`, where it was gathered. */
  readonly scratch: Buffer | undefined;
  /** The messages whose last byte is in it. */
  readonly finished: readonly Queued[];
}

/** Takes up to 32 KiB off the front of the queue. */
function nextPiece(queue: Queued[]): Piece {
  const finished: Queued[] = [];
  let scratch: Buffer | undefined;
  let fill = 0;
  for (let entry = queue[0]; entry !== undefined; entry = queue[0]) {
    const part = entry.parts[entry.part];
    if (part === undefined) {
      finished.push(entry);
      queue.shift();
      continue;
    }
    const left = part.length - entry.offset;
    if (left >= WHOLE_PART_BYTES) {
      if (fill > 0) break;
      const piece = part.subarray(entry.offset, entry.offset + PIECE_BYTES);
      advance(entry, piece.length);
      retire(queue, finished);
      return { piece, scratch: undefined, finished };
    }
    if (fill + left > PIECE_BYTES) break;
    scratch ??= sparePieces.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES);
    scratch.set(entry.offset === 0 ? part : part.subarray(entry.offset), fill);
    fill += left;
    advance(entry, left);
  }
  return { piece: (scratch ?? Buffer.alloc(0)).subarray(0, fill), scratch, finished };
}

function advance(entry: Queued, bytes: number): void {
  entry.offset += bytes;
  if (entry.offset < (entry.parts[entry.part]?.length ?? 0)) return;
  entry.part += 1;
  entry.offset = 0;
}

function retire(queue: Queued[], finished: Queued[]): void {
  const entry = queue[0];
  if (entry === undefined || entry.part < entry.parts.length) return;
  finished.push(entry);
  queue.shift();
}
