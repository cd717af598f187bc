import { GrpcError } from "./status.ts";

const HEADER_BYTES = 5;

/** The five bytes before a message: not compressed, and its length. */
export function frameHeader(length: number): Uint8Array {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(length, 1);
  return header;
}

export interface DeframerOptions {
  /** A longer message ends the call with RESOURCE_EXHAUSTED before it is buffered. */
  readonly maxMessageBytes: number;
  /** The `grpc-encoding` that the peer named, if any. */
  readonly encoding?: string | undefined;
}

/** Cuts a byte stream into messages. */
export interface Deframer {
  /** @returns the messages that are complete now. @throws GrpcError */
  push(chunk: Buffer): readonly Buffer[];
  /** Call when the peer has ended its side. @throws GrpcError where it ended within a message */
  end(): void;
  /** What the message that is not complete takes in memory. */
  bufferedBytes(): number;
}

/**
 * Reads gRPC's length-prefixed messages (the Length-Prefixed-Message rule of
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md). What is
 * buffered is never more than one message of the allowed size.
 */
export function createDeframer({ maxMessageBytes, encoding }: DeframerOptions): Deframer {
  const header = Buffer.alloc(HEADER_BYTES);
  let headerFill = 0;
  let body: Buffer | undefined;
  let bodyFill = 0;

  const startBody = (): void => {
    if (header[0] !== 0) {
      const named = encoding !== undefined && encoding !== "identity";
      throw named
        ? new GrpcError("UNIMPLEMENTED", `messages compressed with ${encoding} are not supported`)
        : new GrpcError("INTERNAL", "a message is flagged as compressed but the call names no encoding");
    }
    const length = header.readUInt32BE(1);
    if (length > maxMessageBytes) {
      throw new GrpcError("RESOURCE_EXHAUSTED", `a message of ${length} bytes is over the limit of ${maxMessageBytes}`);
    }
    body = Buffer.allocUnsafeSlow(length);
    bodyFill = 0;
  };

  return {
    push(chunk) {
      const messages: Buffer[] = [];
      let at = 0;
      while (at < chunk.length || (body !== undefined && bodyFill === body.length)) {
        if (body === undefined) {
          const taken = Math.min(HEADER_BYTES - headerFill, chunk.length - at);
          chunk.copy(header, headerFill, at, at + taken);
          headerFill += taken;
          at += taken;
          if (headerFill === HEADER_BYTES) startBody();
          continue;
        }
        const taken = Math.min(body.length - bodyFill, chunk.length - at);
        chunk.copy(body, bodyFill, at, at + taken);
        bodyFill += taken;
        at += taken;
        if (bodyFill < body.length) continue;
        messages.push(body);
        body = undefined;
        headerFill = 0;
      }
      return messages;
    },
    end() {
      if (headerFill > 0) throw new GrpcError("INTERNAL", "the peer ended the stream within a message");
    },
    bufferedBytes: () => body?.length ?? 0,
  };
}
