import { connect } from "node:http2";
import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from "node:http2";
import { openTlsLine } from "./tls-line.ts";
import type { TlsLineOptions } from "./tls-line.ts";

/** What Consul (Go's HTTP/2) allows a connection; until a server has said its own number. */
const STREAMS_PER_SESSION = 250;
/** Kept free on every session, for questions that are answered at once. */
const SPARE_STREAMS = 10;
const CONNECT_TIMEOUT_MS = 10_000;
/** A dead line shows after two of these, however long its questions may wait. */
const PING_INTERVAL_MS = 15_000;

/** The other side of a TLS connection does not speak HTTP/2. */
export class Http2Refused extends Error {}

interface Session {
  readonly session: ClientHttp2Session;
  open: number;
}

/**
 * HTTP/2 connections to one server, as many as the open streams need. A
 * blocking query costs a stream here and not a connection, of which Consul
 * gives 200 to an address.
 */
export class Http2Sessions {
  readonly #options: TlsLineOptions;
  readonly #maxSessions: number;
  readonly #sessions = new Set<Session>();
  #opening: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: TlsLineOptions, maxSessions: number) {
    this.#options = options;
    this.#maxSessions = maxSessions;
  }

  /** How many questions may wait at a time. */
  get capacity(): number {
    return this.#maxSessions * (this.#limit() - SPARE_STREAMS);
  }

  /** Starts a request on a connection that has room. Rejects with Http2Refused where HTTP/1.1 is all there is. */
  async request(headers: OutgoingHttpHeaders): Promise<ClientHttp2Stream> {
    const taken = await this.#takeRoom();
    try {
      const stream = taken.session.request(headers, { endStream: false });
      stream.once("close", () => (taken.open -= 1));
      return stream;
    } catch (failure) {
      taken.open -= 1;
      throw failure;
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const { session } of this.#sessions) session.destroy();
    this.#sessions.clear();
  }

  /** Counts at once: a stream too many would wait in silence until another one ends. */
  async #takeRoom(): Promise<Session> {
    for (;;) {
      const limit = this.#limit();
      const usable = [...this.#sessions].filter(({ session }) => !session.closed && !session.destroyed);
      const roomy = usable.find(({ open }) => open < limit) ?? (usable.length < this.#maxSessions ? undefined : usable.toSorted((left, right) => left.open - right.open)[0]);
      if (roomy !== undefined) {
        roomy.open += 1;
        return roomy;
      }
      // Whoever waits for the same connection looks again: it may be full before its turn.
      this.#opening ??= this.#open().finally(() => (this.#opening = undefined));
      await this.#opening;
    }
  }

  #limit(): number {
    const [first] = this.#sessions;
    const told = first?.session.remoteSettings?.maxConcurrentStreams ?? STREAMS_PER_SESSION;
    return Math.max(SPARE_STREAMS + 1, Math.min(told, STREAMS_PER_SESSION));
  }

  async #open(): Promise<void> {
    const { socket, version } = await openTlsLine(this.#options, ["h2", "http/1.1"], CONNECT_TIMEOUT_MS);
    if (version !== "h2" || this.#isClosed) {
      socket.destroy();
      throw this.#isClosed ? new Error("the client is closed") : new Http2Refused();
    }
    const session = connect(`https://${this.#options.host}`, { createConnection: () => socket });
    const taken: Session = { session, open: 0 };
    this.#sessions.add(taken);
    // Its streams tell what happened; without a listener it would be thrown.
    session.on("error", () => {});
    const pings = setInterval(() => {
      if (session.destroyed) end();
      else ping(session);
    }, PING_INTERVAL_MS);
    pings.unref();
    // A connection that was refused right after its handshake may end without this.
    const end = (): void => {
      clearInterval(pings);
      this.#sessions.delete(taken);
    };
    session.once("close", end);
  }
}

/** Ends a connection that does not answer in time. */
function ping(session: ClientHttp2Session): void {
  const deadline = setTimeout(() => session.destroy(new Error("the connection is dead: no answer to a ping")), PING_INTERVAL_MS);
  deadline.unref();
  const isSent = session.ping(() => clearTimeout(deadline));
  // Too many are under way already; the one before has a deadline of its own.
  if (!isSent) clearTimeout(deadline);
}
