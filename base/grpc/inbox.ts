import type { Readable } from "node:stream";
import type { Deframer } from "./deframer.ts";

const HIGH_WATER_MESSAGES = 8;
/** Large messages do not wait behind each other: beside this there is one at most. */
const HIGH_WATER_BYTES = 4 << 20;

/**
 * The messages of a stream, in order, for one reader. The stream is paused
 * while unread messages wait, so that a fast peer fills no memory.
 */
export interface Inbox extends AsyncIterable<Uint8Array> {
  /** The next message; undefined when the peer has ended its side. Rejects with the reason of `fail`. */
  next(): Promise<Uint8Array | undefined>;
  /** Ends reading: what was read and not taken is dropped. */
  fail(reason: Error): void;
  /** True once the peer has ended its side; messages may still wait to be taken. */
  hasEnded(): boolean;
  /** What was read and not taken. */
  bufferedBytes(): number;
}

/** @param onError is told when the bytes cannot be read as messages; the inbox has failed with it already */
export function createInbox(stream: Readable, deframer: Deframer, onError: (error: Error) => void): Inbox {
  let queue: Uint8Array[] = [];
  let queuedBytes = 0;
  let hasEnded = false;
  /** What the end itself said: given after the messages before it. */
  let endFailure: Error | undefined;
  let failure: Error | undefined;
  let waiter: (() => void) | undefined;

  const wake = (): void => {
    const resolve = waiter;
    waiter = undefined;
    resolve?.();
  };
  const fail = (reason: Error): void => {
    if (failure !== undefined) return;
    failure = reason;
    queue = [];
    queuedBytes = 0;
    // What still comes is read and thrown away, so that the stream can end.
    stream.resume();
    wake();
  };
  const guard = (work: () => void): void => {
    if (failure !== undefined) return;
    try {
      work();
    } catch (error) {
      fail(error as Error);
      onError(error as Error);
    }
    wake();
  };

  stream.on("data", (chunk: Buffer) =>
    guard(() => {
      for (const message of deframer.push(chunk)) {
        queue.push(message);
        queuedBytes += message.length;
      }
      if (queue.length >= HIGH_WATER_MESSAGES || queuedBytes >= HIGH_WATER_BYTES) stream.pause();
    }),
  );
  stream.on("end", () =>
    guard(() => {
      hasEnded = true;
      try {
        deframer.end();
      } catch (error) {
        endFailure = error as Error;
      }
    }),
  );

  const next = async (): Promise<Uint8Array | undefined> => {
    for (;;) {
      if (failure !== undefined) throw failure;
      const message = queue.shift();
      if (message !== undefined) {
        queuedBytes -= message.length;
        if (queue.length === 0 && stream.isPaused()) stream.resume();
        return message;
      }
      if (endFailure !== undefined) throw endFailure;
      if (hasEnded) return undefined;
      await new Promise<void>((resolve) => {
        waiter = resolve;
      });
    }
  };

  return {
    next,
    fail,
    hasEnded: () => hasEnded,
    bufferedBytes: () => (failure === undefined ? queuedBytes + deframer.bufferedBytes() : 0),
    async *[Symbol.asyncIterator]() {
      for (let message = await next(); message !== undefined; message = await next()) yield message;
    },
  };
}
