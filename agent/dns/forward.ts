import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect, isIPv6 } from "node:net";

import type { HostPort } from "../config.ts";
import { readQuestion } from "./question.ts";
import { readFrames, writeFrame } from "./tcp-frame.ts";

export interface ForwardOptions {
  readonly transport: "udp" | "tcp";
  /** The next server is asked as well after this long. */
  readonly patienceMs: number;
  /** Nobody is waited for after this long. */
  readonly timeoutMs: number;
}

/** True for an answer of which nobody is the wiser: a failure, a refusal, or that there is no such name. */
export function saysNothing(answer: Buffer): boolean {
  return (answer.readUInt8(3) & 0x0f) !== 0;
}

const SERVFAIL = 2;
const REFUSED = 5;

/**
 * Asks the servers in order, each next one after a failure or when the one
 * before has not answered for a while; the first good answer counts. Where all
 * that came is a failure, that failure is given on; where nothing came at all,
 * undefined.
 */
export async function forwardQuery(query: Buffer, servers: readonly HostPort[], options: ForwardOptions): Promise<Buffer | undefined> {
  const overall = AbortSignal.timeout(options.timeoutMs);
  const done = new AbortController();
  const signal = AbortSignal.any([overall, done.signal]);
  let refusal: Buffer | undefined;
  const ask = async (server: HostPort): Promise<Buffer> => {
    const answer = await (options.transport === "udp" ? askByUdp : askByTcp)(query, server, signal);
    const code = answer.readUInt8(3) & 0x0f;
    if (code !== SERVFAIL && code !== REFUSED) return answer;
    refusal ??= answer;
    throw new Error(`the server answered with code ${code}`);
  };
  try {
    const running: Promise<Buffer>[] = [];
    for (const server of servers) {
      const attempt = ask(server);
      attempt.catch(() => undefined);
      running.push(attempt);
      const first = await Promise.race([attempt.catch(() => "failed" as const), anyOf(running), afterMs(options.patienceMs, signal)]);
      if (first instanceof Buffer) return first;
      if (overall.aborted) break;
    }
    return await anyOf(running) ?? refusal;
  } finally {
    done.abort();
  }
}

/** The first that succeeds; undefined (late) once all have failed. */
async function anyOf(running: readonly Promise<Buffer>[]): Promise<Buffer | undefined> {
  return Promise.any(running).catch(() => undefined);
}

function afterMs(delayMs: number, signal: AbortSignal): Promise<"late"> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve("late"), delayMs);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve("late");
    }, { once: true });
  });
}

/** A socket of its own for each query: a random port beside the random id (RFC 5452 §9.2). */
function askByUdp(query: Buffer, server: HostPort, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(server.host) ? "udp6" : "udp4");
    const id = randomInt(0x1_0000);
    const end = (finish: () => void): void => {
      signal.removeEventListener("abort", onAbort);
      socket.close();
      finish();
    };
    const onAbort = (): void => end(() => reject(new Error("no answer in time")));
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("error", (failure) => end(() => reject(failure)));
    socket.on("message", (answer) => {
      // The kernel lets only the server's address through; what does not fit the query is a forgery or late.
      if (isAnswerTo(answer, query, id)) end(() => resolve(withId(answer, query.readUInt16BE(0))));
    });
    socket.connect(server.port, server.host, () => {
      if (signal.aborted) return;
      socket.send(withId(query, id));
    });
    if (signal.aborted) onAbort();
  });
}

function askByTcp(query: Buffer, server: HostPort, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server.host, port: server.port, signal });
    const id = randomInt(0x1_0000);
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("the server closed the connection")));
    readFrames(socket, (answer) => {
      if (!isAnswerTo(answer, query, id)) return;
      resolve(withId(answer, query.readUInt16BE(0)));
      socket.destroy();
    });
    writeFrame(socket, withId(query, id));
  });
}

function withId(message: Buffer, id: number): Buffer {
  const copy = Buffer.from(message);
  copy.writeUInt16BE(id, 0);
  return copy;
}

/** Id, "is a response", and the question as it was asked (a header alone is a failure's right). */
function isAnswerTo(answer: Buffer, query: Buffer, id: number): boolean {
  if (answer.length < 12 || answer.readUInt16BE(0) !== id || (answer.readUInt8(2) & 0x80) === 0) return false;
  if (answer.readUInt16BE(4) === 0) return (answer.readUInt8(3) & 0x0f) !== 0;
  const question = comparable(query);
  return question !== undefined && comparable(answer) === question;
}

/** The question's bytes, case aside. */
function comparable(message: Buffer): string | undefined {
  return readQuestion(message)?.bytes.toString("latin1").toLowerCase();
}
