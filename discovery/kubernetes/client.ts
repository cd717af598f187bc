import http from "node:http";
import https from "node:https";
import { readFile } from "node:fs/promises";
import type { KubeConfig } from "@kubernetes/client-node";
import { z } from "zod";
import type { Clock } from "../../base/clock.ts";
import { CodedError, messageOf } from "../../base/coded-error.ts";
import { limitPlugins } from "./credential-plugin.ts";
import { failureOfStatus, failureOfTransport, kubernetesFailure } from "./failure.ts";
import { readLines } from "./lines.ts";
import { mustBeVersion } from "./resource-version.ts";

/** Whose API is asked, and as whom. */
export interface KubernetesAccess {
  /** Absent: the cluster that this process runs in, as its pod's service account. */
  readonly kubeconfig?: string | undefined;
  /** Of the kubeconfig; absent: its current one. */
  readonly context?: string | undefined;
  /** Of a bearer token that goes before the kubeconfig's; read for every request. */
  readonly tokenFile?: string | undefined;
}

/** A kind of objects, in all namespaces. */
export interface KubernetesKind {
  /** `/api/v1/services` */
  readonly path: string;
  readonly fieldSelector?: string;
}

export interface ListQuery {
  readonly kind: KubernetesKind;
  /** At most so many items, and a token for the next ones; 0: all. */
  readonly limit: number;
  readonly continueToken: string;
  readonly signal: AbortSignal;
}

export interface ListPage {
  readonly items: readonly unknown[];
  /** Of the whole list, which is one consistent state. */
  readonly version: string;
  /** Empty on the last page. */
  readonly continueToken: string;
}

export interface WatchQuery {
  readonly kind: KubernetesKind;
  /** What has happened since. */
  readonly version: string;
  /** After so long the API server ends it. */
  readonly timeoutSeconds: number;
  /** A watch that is silent for so long is taken for dead. Bookmarks come every minute. */
  readonly silenceMs: number;
  readonly onOpen: () => void;
  readonly onEvent: (event: WatchEvent) => void;
  readonly signal: AbortSignal;
}

export interface WatchEvent {
  readonly type: string;
  readonly object: unknown;
}

/** `gone`: the version is too old, and only a list tells what is now. */
export type WatchEnd = "ended" | "gone";

/** The questions that are asked of a cluster. Rejects with a CodedError `MESH_REGISTRY_…`. */
export interface KubernetesClient {
  /** Undefined where the state that the token continues is gone. */
  list(query: ListQuery): Promise<ListPage | undefined>;
  /** Resolves when the watch ends, also when its connection is reset. */
  watch(query: WatchQuery): Promise<WatchEnd>;
  /** What the cluster says of a group of its API, or of one version of it; undefined where it has none such. */
  describe(path: string, signal: AbortSignal): Promise<unknown>;
  close(): void;
}

/** What a request carries of who asks. */
type Credentials = Omit<https.RequestOptions, "headers"> & { readonly headers: Readonly<Record<string, string>> };

const ANSWER_MS = 30_000;
/** No page is near it; a peer that is none could send for ever. */
const MAX_PAGE_BYTES = 256 * 1_024 * 1_024;
/** An object is at most 1.5 MiB in etcd. */
const MAX_EVENT_BYTES = 8 * 1_024 * 1_024;

const pageSchema = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().default("") }),
  items: z.array(z.unknown()).nullish().transform((items) => items ?? []),
});
const eventSchema = z.object({ type: z.string(), object: z.unknown() });
const statusSchema = z.object({ code: z.number().default(0), message: z.string().default("") });

/**
 * Requests under the access that `@kubernetes/client-node` reads out of
 * kubeconfigs (certificates, tokens, exec plugins, proxies). The package takes
 * 90 MB of memory, so it is loaded when there is a cluster to ask.
 */
export function createKubernetesClient(access: KubernetesAccess, clock: Clock): KubernetesClient {
  let session: Promise<KubeConfig> | undefined;
  /** A plugin that asks a person, or hangs until it is ended, is run once for all who wait for it. */
  let authentication: Promise<Credentials> | undefined;

  /** An answer below 300 with whoever follows its silence; the caller reads or destroys it. */
  async function request(path: string, query: URLSearchParams, abort: AbortController): Promise<http.IncomingMessage> {
    session ??= openConfig(access).catch((failure: unknown) => {
      session = undefined;
      throw failure;
    });
    const config = await session;
    const server = config.getCurrentCluster()?.server ?? "";
    authentication ??= authenticate(config, access).finally(() => (authentication = undefined));
    const { headers, ...credentials } = await orAborted(authentication, abort.signal);
    const options: https.RequestOptions = { ...credentials, headers: { ...headers, accept: "application/json", "user-agent": "ironmesh" }, signal: abort.signal };
    const url = new URL(`${server.replace(/\/$/, "")}${path}?${query.toString()}`);
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const asked = (url.protocol === "https:" ? https : http).get(url, options, resolve);
      asked.once("error", reject);
      asked.once("socket", (socket) => socket.setKeepAlive(true, 30_000));
    });
    const { statusCode = 0 } = response;
    if (statusCode >= 200 && statusCode < 300) return response;
    // A credential that was renewed is in the file by now.
    if (statusCode === 401 || statusCode === 403) session = undefined;
    const said = await readText(response, 64 * 1_024).catch(() => "");
    throw failureOfStatus(statusCode, messageIn(said), Number(response.headers["retry-after"]));
  }

  /** Hands `work` a request that is aborted with the signal, or when `alive` is not called for a while. */
  async function guarded<T>(signal: AbortSignal, work: (abort: AbortController, alive: (silenceMs: number) => void) => Promise<T>): Promise<T> {
    const abort = new AbortController();
    const end = (): void => abort.abort(signal.reason);
    signal.throwIfAborted();
    signal.addEventListener("abort", end, { once: true });
    let cancel: (() => void) | undefined;
    const alive = (silenceMs: number): void => {
      cancel?.();
      cancel = clock.after(silenceMs, () => abort.abort(new Error(`nothing for ${Math.round(silenceMs / 1_000)} s`)));
    };
    alive(ANSWER_MS);
    try {
      return await work(abort, alive);
    } catch (thrown) {
      if (thrown instanceof CodedError) throw thrown;
      // Other certificates may be in the files by now.
      session = undefined;
      throw failureOfTransport(abort.signal.aborted ? abort.signal.reason : thrown);
    } finally {
      cancel?.();
      signal.removeEventListener("abort", end);
    }
  }

  return {
    list: ({ kind, limit, continueToken, signal }) =>
      guarded(signal, async (abort, alive) => {
        const query = queryOf(kind, { ...(limit === 0 ? {} : { limit: String(limit) }), ...(continueToken === "" ? {} : { continue: continueToken }) });
        let response: http.IncomingMessage;
        try {
          response = await request(kind.path, query, abort);
        } catch (failure) {
          if (isAnswer(failure, 410)) return undefined;
          throw failure;
        }
        const body = await readText(response, MAX_PAGE_BYTES, () => alive(ANSWER_MS));
        const parsed = pageSchema.safeParse(parseJson(body));
        if (!parsed.success) throw kubernetesFailure("MESH_REGISTRY_MALFORMED", `the answer to ${kind.path} is no list of kubernetes`);
        const { metadata, items } = parsed.data;
        return { items, version: mustBeVersion(metadata.resourceVersion), continueToken: metadata.continue };
      }),

    watch: ({ kind, version, timeoutSeconds, silenceMs, onOpen, onEvent, signal }) =>
      guarded(signal, async (abort, alive) => {
        const query = queryOf(kind, { watch: "true", allowWatchBookmarks: "true", resourceVersion: version, timeoutSeconds: String(timeoutSeconds) });
        let response: http.IncomingMessage;
        try {
          response = await request(kind.path, query, abort);
        } catch (failure) {
          if (isAnswer(failure, 410)) return "gone";
          throw failure;
        }
        alive(silenceMs);
        onOpen();
        try {
          for await (const line of readLines(response, MAX_EVENT_BYTES, () => alive(silenceMs))) {
            const parsed = eventSchema.safeParse(parseJson(line));
            if (!parsed.success) throw kubernetesFailure("MESH_REGISTRY_MALFORMED", `a watch of ${kind.path} sends what is no event`);
            if (parsed.data.type === "ERROR") {
              const { code, message } = statusSchema.catch({ code: 0, message: "" }).parse(parsed.data.object);
              if (code === 410) return "gone";
              throw failureOfStatus(code === 0 ? 500 : code, message);
            }
            take(onEvent, parsed.data);
          }
        } catch (thrown) {
          if (thrown instanceof CodedError || signal.aborted) throw thrown;
          // Proxies and restarts cut watches all the time: whether somebody is there shows at the next question.
        } finally {
          response.destroy();
        }
        return "ended";
      }),

    describe: (path, signal) =>
      guarded(signal, async (abort, alive) => {
        let response: http.IncomingMessage;
        try {
          response = await request(path, new URLSearchParams(), abort);
        } catch (failure) {
          if (isAnswer(failure, 404)) return undefined;
          throw failure;
        }
        const parsed = parseJson(await readText(response, MAX_PAGE_BYTES, () => alive(ANSWER_MS)));
        if (parsed === undefined) throw kubernetesFailure("MESH_REGISTRY_MALFORMED", `the answer to ${path} is no JSON`);
        return parsed;
      }),

    close() {
      session = undefined;
    },
  };
}

/** Whatever goes wrong with an event must not look like a connection that ended. */
function take(onEvent: (event: WatchEvent) => void, event: WatchEvent): void {
  try {
    onEvent(event);
  } catch (thrown) {
    throw thrown instanceof CodedError ? thrown : kubernetesFailure("MESH_REGISTRY_MALFORMED", messageOf(thrown), thrown);
  }
}

async function openConfig({ kubeconfig, context }: KubernetesAccess): Promise<KubeConfig> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  limitPlugins(config);
  try {
    if (kubeconfig !== undefined) config.loadFromFile(kubeconfig);
    else if (process.env["KUBERNETES_SERVICE_HOST"] === undefined) throw new Error("no kubeconfig is configured, and this process runs in no pod");
    else config.loadFromCluster();
    if (context !== undefined) config.setCurrentContext(context);
    // Without a user the library would leave out the cluster's root too, which a token of a file is sent to.
    const named = config.getContextObject(config.getCurrentContext());
    if (named !== null && config.getCurrentUser() === null) config.addUser({ name: named.user });
    const cluster = config.getCurrentCluster();
    if (cluster === null || !URL.canParse(cluster.server)) throw new Error(`it has no cluster for the context ${JSON.stringify(config.getCurrentContext() ?? "")}`);
    // The library's own rule, told where it can be mended.
    if (new URL(cluster.server).protocol !== "https:" && !cluster.skipTLSVerify) throw new Error("its cluster is asked by https, or says insecure-skip-tls-verify");
  } catch (cause) {
    // Below the first line a parser quotes what is wrong, which may be a token.
    const [words = ""] = messageOf(cause).split("\n", 1);
    throw kubernetesFailure("MESH_REGISTRY_MISCONFIGURED", `the kubeconfig cannot be used: ${words}`, undefined, { kubeconfig });
  }
  return config;
}

async function authenticate(config: KubeConfig, { tokenFile }: KubernetesAccess): Promise<Credentials> {
  const headers: Record<string, string> = {};
  const options = { headers };
  try {
    await config.applyToHTTPSOptions(options as Parameters<KubeConfig["applyToHTTPSOptions"]>[0]);
    if (tokenFile !== undefined) headers["Authorization"] = `Bearer ${await readFile(tokenFile, "utf8")}`;
  } catch (cause) {
    throw kubernetesFailure("MESH_REGISTRY_DENIED", `there are no credentials: ${messageOf(cause)}`, cause);
  }
  // A file ends with a newline, which is no part of a token.
  if (headers["Authorization"] !== undefined) headers["Authorization"] = headers["Authorization"].trim();
  return options;
}

/** Ends waiting, not the work. */
async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const ended = Promise.withResolvers<never>();
  const end = (): void => ended.reject(signal.reason);
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  try {
    return await Promise.race([work, ended.promise]);
  } finally {
    signal.removeEventListener("abort", end);
  }
}

function queryOf({ fieldSelector }: KubernetesKind, parameters: Readonly<Record<string, string>>): URLSearchParams {
  return new URLSearchParams({ ...parameters, ...(fieldSelector === undefined ? {} : { fieldSelector }) });
}

function isAnswer(failure: unknown, status: number): boolean {
  return failure instanceof CodedError && failure.facts["status"] === status;
}

async function readText(response: http.IncomingMessage, maxBytes: number, onChunk: () => void = () => {}): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    onChunk();
    bytes += chunk.length;
    if (bytes > maxBytes) throw kubernetesFailure("MESH_REGISTRY_MALFORMED", `an answer is longer than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What a `Status` says, or the text itself where it is none. */
function messageIn(text: string): string {
  const parsed = statusSchema.safeParse(parseJson(text));
  return parsed.success ? parsed.data.message : text;
}
