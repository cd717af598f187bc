import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, request } from "node:https";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { readLines } from "../../discovery/kubernetes/lines.ts";
import type { SeededRandom } from "./seeded-random.ts";

/** A way to an API server on which the events of watches come twice, late and in another order; each comes at least once. */
export interface ScramblingRelay {
  readonly port: number;
  /** How often it did so. */
  readonly done: { readonly repeated: number; readonly swapped: number };
  close(): Promise<void>;
}

export interface ScramblingOptions {
  readonly targetPort: number;
  /** What its own clients trust, with the key: the API server's. */
  readonly identity: { readonly cert: Buffer; readonly key: Buffer };
  readonly random: SeededRandom;
}

const MAX_EVENT_BYTES = 8 * 1_024 * 1_024;
/** So many of a watch's last events may be said again. */
const REMEMBERED = 5;
/** An event that waits for the next one to overtake it waits no longer. */
const HELD_MS = 40;

export async function startScramblingRelay({ targetPort, identity, random }: ScramblingOptions): Promise<ScramblingRelay> {
  const happens = (percent: number): boolean => random.between(1, 100) <= percent;
  const done = { repeated: 0, swapped: 0 };

  /** Writes a watch's events on, each followed by whatever chance wants. */
  async function scramble(upstream: IncomingMessage, response: ServerResponse): Promise<void> {
    const said: string[] = [];
    let held: { readonly line: string; readonly timer: NodeJS.Timeout } | undefined;
    const say = (line: string): void => {
      response.write(`${line}\n`);
      said.push(line);
      if (said.length > REMEMBERED) said.shift();
    };
    const release = (): void => {
      if (held === undefined) return;
      clearTimeout(held.timer);
      say(held.line);
      held = undefined;
    };
    try {
      for await (const line of readLines(upstream, MAX_EVENT_BYTES, () => {})) {
        if (held === undefined && happens(30)) {
          held = { line, timer: setTimeout(release, HELD_MS) };
          continue;
        }
        say(line);
        if (held !== undefined) done.swapped += 1;
        release();
        if (!happens(30)) continue;
        const again = said.slice(-random.between(1, REMEMBERED));
        for (const one of happens(50) ? again : again.toReversed()) response.write(`${one}\n`);
        done.repeated += again.length;
      }
    } finally {
      release();
      response.end();
    }
  }

  const server = createServer(identity, (incoming, response) => {
    const { method, url = "/", headers } = incoming;
    const isWatch = new URL(url, "https://relay").searchParams.get("watch") === "true";
    const asked = request({ host: "127.0.0.1", port: targetPort, method, path: url, headers, ca: identity.cert }, (upstream) => {
      response.writeHead(upstream.statusCode ?? 502, upstream.headers);
      response.flushHeaders();
      const passed = isWatch && upstream.statusCode === 200 ? scramble(upstream, response) : pipeline(upstream, response);
      passed.catch(() => response.destroy());
    });
    asked.once("error", () => response.destroy());
    response.once("close", () => asked.destroy());
    incoming.pipe(asked);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    done,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
