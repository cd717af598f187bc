import { randomUUID } from "node:crypto";
import { CodedError } from "../base/coded-error.ts";
import { connectGrpc } from "../base/grpc/client.ts";
import type { CallOptions, ClientStream, GrpcClient } from "../base/grpc/client.ts";
import type { MessageBytes } from "../base/grpc/paced-writer.ts";
import { GrpcError } from "../base/grpc/status.ts";
import type { HostPort } from "./config.ts";
import { checkControlPlane } from "./enrol.ts";
import type { HostIdentity } from "./host-identity.ts";

/** What a call must fail with for another address to be tried the next time. */
function isUnreachable(failure: unknown): boolean {
  if (failure instanceof GrpcError) return failure.status === "UNAVAILABLE" || failure.status === "DEADLINE_EXCEEDED";
  return failure instanceof CodedError && (failure.code === "MESH_CONNECT_FAILED" || failure.code === "MESH_SERVER_NOT_TRUSTED");
}

/**
 * One client of whichever control plane answers, over mutual TLS with the
 * host's certificate of the moment. After a failure the next call goes to the
 * next address; callers repeat by themselves.
 *
 * @param session says in every call which agent it is: another process, as of a copied machine, has another one
 */
export function connectControlPlane(addresses: readonly HostPort[], identity: () => HostIdentity, session: string = randomUUID()): GrpcClient {
  const clients = addresses.map((target) =>
    connectGrpc({
      target,
      tls: () => {
        const { certificate, roots, trustDomain } = identity();
        return { roots, identity: { certificateChain: certificate.chain, privateKey: certificate.privateKey }, checkServer: checkControlPlane(trustDomain) };
      },
    }),
  );
  let index = 0;
  const attempt = async <T>(call: (client: GrpcClient) => Promise<T>): Promise<T> => {
    const at = index;
    const client = clients[at % clients.length];
    if (client === undefined) throw new Error("there is no address of a control plane");
    try {
      return await call(client);
    } catch (failure) {
      if (isUnreachable(failure) && index === at) index += 1;
      throw failure;
    }
  };
  const ours = (options: CallOptions = {}): CallOptions => ({ ...options, metadata: { ...options.metadata, "ironmesh-session": session } });
  return {
    unary: (path: string, request: MessageBytes, options?: CallOptions): Promise<Uint8Array> => attempt((client) => client.unary(path, request, ours(options))),
    stream: (path: string, options?: CallOptions): Promise<ClientStream> => attempt((client) => client.stream(path, ours(options))),
    reconnect() {
      for (const client of clients) client.reconnect();
    },
    async close() {
      await Promise.all(clients.map((client) => client.close()));
    },
  };
}
