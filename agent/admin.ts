import { request } from "node:http";

import { CodedError, messageOf } from "../base/coded-error.ts";

/** Envoy's admin interface over its unix socket. Every call throws CodedError MESH_ENVOY_ADMIN_FAILED. */
export interface EnvoyAdmin {
  /** True while all listeners that Envoy was told of at start are up, and it is not draining. */
  isReady(): Promise<boolean>;
  /** Text of a GET, such as `/clusters?format=json` or `/stats/prometheus?usedonly`. */
  get(path: string): Promise<string>;
  /** `/config_dump` with everything secret taken out. */
  configDump(): Promise<unknown>;
  /** Value of one counter or gauge; 0 where there is none of that name. */
  stat(name: string): Promise<number>;
  /** Ports of the listeners that serve: those that are still warming, or were refused, are not among them. */
  listenerPorts(): Promise<ReadonlySet<number>>;
  /** Stops taking new connections; asks those that are open to end. */
  drain(): Promise<void>;
}

const TIMEOUT_MS = 5_000;
const MAX_BODY_BYTES = 256 << 20;

export function connectAdmin(socketPath: string): EnvoyAdmin {
  const call = (method: string, path: string): Promise<{ readonly status: number; readonly body: string }> =>
    new Promise((resolve, reject) => {
      const fail = (cause: unknown): void =>
        reject(new CodedError("MESH_ENVOY_ADMIN_FAILED", `envoy's admin does not answer ${method} ${path}: ${messageOf(cause)}`, { cause, facts: { socketPath } }));
      const outgoing = request({ socketPath, method, path, headers: { host: "admin", "content-length": 0 }, timeout: TIMEOUT_MS }, (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > MAX_BODY_BYTES) outgoing.destroy(new Error("its answer is too large"));
          else chunks.push(chunk);
        });
        response.once("error", fail);
        response.once("end", () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8") }));
      });
      outgoing.once("timeout", () => outgoing.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
      outgoing.once("error", fail);
      outgoing.end();
    });
  const expectOk = async (method: string, path: string): Promise<string> => {
    const { status, body } = await call(method, path);
    if (status === 200) return body;
    throw new CodedError("MESH_ENVOY_ADMIN_FAILED", `envoy's admin answered ${method} ${path} with status ${status}`, { facts: { body: body.slice(0, 200) } });
  };
  return {
    isReady: async () => (await call("GET", "/ready")).status === 200,
    get: (path) => expectOk("GET", path),
    configDump: async () => redact(JSON.parse(await expectOk("GET", "/config_dump?include_eds"))),
    async stat(name) {
      const escaped = name.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
      const text = await expectOk("GET", `/stats?filter=${encodeURIComponent(`^${escaped}$`)}`);
      return Number(/: (\d+)\s*$/m.exec(text)?.[1] ?? 0);
    },
    async listenerPorts() {
      const { listener_statuses: listeners = [] } = JSON.parse(await expectOk("GET", "/listeners?format=json")) as ListenerStatuses;
      const addresses = listeners.flatMap((one) => [one.local_address, ...(one.additional_local_addresses ?? [])]);
      return new Set(addresses.flatMap((address) => address?.socket_address?.port_value ?? []));
    },
    async drain() {
      await expectOk("POST", "/drain_listeners?graceful");
    },
  };
}

/** admin/v3/listeners.proto, as JSON. */
interface ListenerStatuses {
  readonly listener_statuses?: readonly { readonly local_address?: ListenerAddress; readonly additional_local_addresses?: readonly ListenerAddress[] }[];
}
interface ListenerAddress {
  readonly socket_address?: { readonly port_value?: number };
}

/** Fields whose content nobody may see, whatever message they are in. */
const SECRET_FIELDS = new Set(["private_key", "privateKey", "password", "token_secret", "hmac_secret", "session_ticket_keys", "generic_secret", "private_key_provider"]);

/** A copy without secrets. Envoy redacts most itself; what it does not know as secret is taken out here. */
export function redact(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(redact);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, SECRET_FIELDS.has(key) ? "[redacted]" : redact(child)]));
}
