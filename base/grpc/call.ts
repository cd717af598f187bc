import type { X509Certificate } from "node:crypto";
import type { Inbox } from "./inbox.ts";
import type { Metadata } from "./metadata.ts";
import type { MessageBytes } from "./paced-writer.ts";

/** Who is at the other end of a connection. */
export interface Peer {
  /** `address:port`; absent on a unix socket. */
  readonly remoteAddress: string | undefined;
  /** The peer's certificate, verified against the roots that the server was given; undefined where it showed none. */
  readonly peerCertificate: () => X509Certificate | undefined;
  /** Asks whether it is still there: true when it answers, however late; false when the connection ends before. */
  readonly ping: () => Promise<boolean>;
}

/** A client that showed a certificate which does not verify: none of its calls reaches a handler. */
export interface UnverifiedPeer {
  readonly remoteAddress: string | undefined;
  /** What it showed; not a word of it is proven. */
  readonly certificate: X509Certificate;
  /** OpenSSL's name of the failure, such as `CERT_HAS_EXPIRED`. */
  readonly failure: string;
}

/** What a handler knows about its call. */
export interface ServerCall {
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly metadata: Metadata;
  readonly peer: Peer;
  /** Aborted with a GrpcError when the call is over before its handler: cancelled, past its deadline, connection lost, server closing. */
  readonly signal: AbortSignal;
}

/** A call with messages both ways. */
export interface ServerStream extends ServerCall {
  /** What the client sends; ends with its half-close, throws when the call is over. */
  readonly messages: Inbox;
  /** Resolves when the connection has taken the last byte. Await it: the queue is bounded. */
  readonly write: (message: MessageBytes) => Promise<void>;
}

/** Who may call a method, and how much it takes. */
export interface CallPolicy {
  /**
   * Decides before anything of the call's messages is read: throws a GrpcError
   * to refuse it. Absent: whoever is connected may call.
   */
  readonly authorize?: (peer: Peer) => Promise<void> | void;
  /** Of one message of the caller; the server's limit unless told. */
  readonly maxMessageBytes?: number;
}

export interface UnaryHandler extends CallPolicy {
  readonly kind: "unary";
  /** Gives the response message, or throws a GrpcError. */
  readonly handle: (request: Uint8Array, call: ServerCall) => Promise<MessageBytes> | MessageBytes;
}

export interface StreamHandler extends CallPolicy {
  readonly kind: "stream";
  /** The call ends with OK when this resolves, with its status when it rejects with a GrpcError. */
  readonly handle: (stream: ServerStream) => Promise<void>;
}

export type GrpcHandler = UnaryHandler | StreamHandler;
