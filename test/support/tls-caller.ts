import { Agent, request } from "node:https";

/** A request as it goes over the wire, whatever it is. */
export interface RawRequest {
  readonly method: string;
  /** Not normalized. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface RawAnswer {
  readonly status: number;
  readonly body: string;
}

/** Somebody with a certificate, who calls proxies directly. */
export interface TlsCaller {
  /** @param port on loopback */
  ask(port: number, request: RawRequest): Promise<RawAnswer>;
  close(): void;
}

/** @param identity PEM */
export function createTlsCaller(identity: { readonly cert: string; readonly key: string }): TlsCaller {
  // Whom it reaches is not its subject: it calls addresses that the test has chosen.
  const agent = new Agent({ ...identity, rejectUnauthorized: false, keepAlive: true, maxSockets: 4 });
  return {
    ask: (port, { method, path, headers = {} }) =>
      new Promise((resolve, reject) => {
        const asking = request({ agent, host: "127.0.0.1", port, method, path, headers: { host: "service.test", ...headers } }, (response) => {
          let body = "";
          response.setEncoding("utf8").on("data", (text: string) => (body += text));
          response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
          response.on("error", reject);
        });
        asking.on("error", reject);
        asking.end();
      }),
    close: () => agent.destroy(),
  };
}
