import { execFile } from "node:child_process";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";

import { messageOf } from "../base/coded-error.ts";
import { connectGrpc } from "../base/grpc/client.ts";
import { familyOf, formatHostPort } from "../model/address.ts";
import type { UserIds } from "./envoy-binary.ts";
import type { Probe } from "./probe.ts";

export interface ProbeContext {
  /** Where the application may listen, tried in order: loopback first. */
  readonly addresses: readonly string[];
  /** Who `exec` probes run as; absent where they are not allowed. */
  readonly execUser?: UserIds;
}

/** Runs a probe once. @returns why it failed, or undefined */
export async function runProbe(probe: Probe, context: ProbeContext): Promise<string | undefined> {
  const timeoutMs = probe.timeoutSeconds * 1_000;
  if (probe.exec !== undefined) return runCommand(probe.exec.command, timeoutMs, context.execUser);
  const host = probe.httpGet?.host ?? probe.tcpSocket?.host;
  const deadline = AbortSignal.timeout(timeoutMs);
  let failure = "there is no address to probe";
  for (const address of host === undefined ? context.addresses : [host]) {
    const outcome = await probeAddress(probe, address, deadline, timeoutMs);
    if (outcome === undefined) return undefined;
    failure = outcome.reason;
    // Something listens there: another address would be another application.
    if (!outcome.isRefused || deadline.aborted) break;
  }
  return failure;
}

interface Failure {
  readonly reason: string;
  readonly isRefused: boolean;
}

async function probeAddress(probe: Probe, address: string, signal: AbortSignal, timeoutMs: number): Promise<Failure | undefined> {
  try {
    if (probe.httpGet !== undefined) return await getHttp(probe.httpGet, address, signal);
    if (probe.grpc !== undefined) return await checkGrpc(probe.grpc, address, signal);
    await openTcp(address, probe.tcpSocket?.port ?? 0, signal);
    return undefined;
  } catch (failure) {
    const code = (failure as NodeJS.ErrnoException).code ?? ((failure as Error).cause as NodeJS.ErrnoException | undefined)?.code;
    return { reason: signal.aborted ? `no answer within ${timeoutMs} ms` : messageOf(failure), isRefused: code === "ECONNREFUSED" || code === "EADDRNOTAVAIL" };
  }
}

/** Rules take connections from here for the proxy's own deliveries, so that a probe reaches the application itself. */
function sourceFor(address: string): { readonly localAddress?: string } {
  return familyOf(address) === "ipv4" && process.platform === "linux" ? { localAddress: "127.0.0.6" } : {};
}

function openTcp(host: string, port: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, signal, ...sourceFor(host) });
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.destroy();
      resolve();
    });
  });
}

function getHttp(get: NonNullable<Probe["httpGet"]>, address: string, signal: AbortSignal): Promise<Failure | undefined> {
  return new Promise((resolve, reject) => {
    const headers = Object.fromEntries(get.httpHeaders.map(({ name, value }) => [name, value]));
    const path = get.path.startsWith("/") ? get.path : `/${get.path}`;
    const isTls = get.scheme.toUpperCase() === "HTTPS";
    const options = { host: address, port: get.port, path, headers: { "user-agent": "ironmesh-probe", connection: "close", ...headers }, signal, agent: false, ...sourceFor(address) };
    // As the kubelet does: a probe asks whether the server answers, not who it is.
    const outgoing = isTls ? httpsRequest({ ...options, rejectUnauthorized: false }) : httpRequest(options);
    outgoing.once("error", reject);
    outgoing.once("response", (response) => {
      const status = response.statusCode ?? 0;
      response.destroy();
      resolve(status >= 200 && status < 400 ? undefined : { reason: `HTTP status ${status}`, isRefused: false });
    });
    outgoing.end();
  });
}

const HEALTH_CHECK = "/grpc.health.v1.Health/Check";
const SERVING = 1;

/** https://github.com/grpc/grpc/blob/master/doc/health-checking.md */
async function checkGrpc(grpc: NonNullable<Probe["grpc"]>, address: string, signal: AbortSignal): Promise<Failure | undefined> {
  // Finds out about a closed port in the words of the system.
  await openTcp(address, grpc.port, signal);
  const client = connectGrpc({ target: { host: address, port: grpc.port } });
  try {
    const service = Buffer.from(grpc.service);
    // HealthCheckRequest { string service = 1 }; HealthCheckResponse { ServingStatus status = 1 }
    const request = service.length === 0 ? new Uint8Array() : Buffer.concat([Uint8Array.of(0x0a, service.length), service]);
    const reply = await client.unary(HEALTH_CHECK, request, { signal });
    return reply[0] === 0x08 && reply[1] === SERVING ? undefined : { reason: `${formatHostPort(address, grpc.port)} is not serving`, isRefused: false };
  } finally {
    await client.close();
  }
}

function runCommand(command: readonly string[], timeoutMs: number, user: UserIds | undefined): Promise<string | undefined> {
  const [file = "", ...args] = command;
  if (user === undefined) return Promise.resolve("exec probes are not allowed on this host (probes.allowExec)");
  return new Promise((resolve) => {
    const ids = process.getuid?.() === 0 ? user : {};
    execFile(file, args, { timeout: timeoutMs, killSignal: "SIGKILL", maxBuffer: 64 * 1024, cwd: "/", env: { PATH: "/usr/local/bin:/usr/bin:/bin" }, ...ids }, (failure, _stdout, stderr) => {
      if (failure === null) resolve(undefined);
      else if (failure.killed === true) resolve(`the command did not end within ${timeoutMs} ms`);
      else resolve(`the command ended with ${failure.code ?? failure.signal ?? "an error"}: ${stderr.trim().split("\n")[0]?.slice(0, 200) ?? ""}`);
    });
  });
}
