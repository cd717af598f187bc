import { request } from "node:http";
import { CodedError } from "../base/coded-error.ts";

/** An answer of the control plane's API. */
export interface ApiAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface ApiClient {
  get(path: string): Promise<unknown>;
  /** Gives answers of every status: the caller judges. */
  send(method: "PUT" | "POST" | "DELETE", path: string, body?: ApiBody): Promise<ApiAnswer>;
}

export interface ApiBody {
  readonly type: "application/json" | "application/yaml";
  readonly text: string;
}

const ANSWER_TIMEOUT_MS = 30_000;

/** A client of the API on its unix socket. */
export function apiClient(socketPath: string): ApiClient {
  return {
    async get(path) {
      const answer = await exchange(socketPath, "GET", path, undefined);
      if (answer.status !== 200) throw refusal(answer);
      return answer.body;
    },
    send: (method, path, body) => exchange(socketPath, method, path, body),
  };
}

/** What a refusal of the API says, as an error for the command line. */
export function refusal(answer: ApiAnswer): CodedError {
  const { code, message, hint } = isRecord(answer.body) ? answer.body : {};
  return new CodedError(
    typeof code === "string" ? code : "MESH_API_REFUSED",
    typeof message === "string" ? message : `the control plane answered ${answer.status}`,
    typeof hint === "string" ? { hint } : {},
  );
}

function exchange(socketPath: string, method: string, path: string, body: ApiBody | undefined): Promise<ApiAnswer> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        socketPath,
        method,
        path,
        timeout: ANSWER_TIMEOUT_MS,
        headers: body === undefined ? {} : { "content-type": body.type, "content-length": Buffer.byteLength(body.text) },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString("utf8");
          const isJson = response.headers["content-type"]?.startsWith("application/json") === true;
          resolve({ status: response.statusCode ?? 0, body: isJson ? JSON.parse(text) : text });
        });
      },
    );
    call.on("timeout", () => call.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1_000} s`)));
    call.on("error", (cause) => reject(unreachable(socketPath, cause)));
    call.end(body?.text);
  });
}

function unreachable(socketPath: string, cause: Error): CodedError {
  const denied = "code" in cause && cause.code === "EACCES";
  return new CodedError("MESH_API_UNREACHABLE", `cannot reach the control plane at ${socketPath}: ${cause.message}`, {
    cause,
    hint: denied
      ? "the socket is for root: use sudo"
      : "run this where the control plane runs, or name its socket with --api or IRONMESH_API",
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
