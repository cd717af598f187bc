import { create, fromBinary, type MessageInitShape, type MessageShape, toBinary, type DescMessage } from "@bufbuild/protobuf";
import { CodedError, messageOf } from "../base/coded-error.ts";
import type { CallPolicy, ServerCall, UnaryHandler } from "../base/grpc/call.ts";
import { GrpcError, type GrpcStatusName } from "../base/grpc/status.ts";
import {
  JoinRequestSchema,
  JoinResponseSchema,
  RenewHostRequestSchema,
  RenewHostResponseSchema,
  SignWorkloadRequestSchema,
  SignWorkloadResponseSchema,
} from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import type { CertificateAuthority } from "./service.ts";

/** A token or a group's name, and a certificate request: these are a few hundred bytes. */
const MAX_REQUEST_BYTES = 16 * 1024;

const SERVICE = "/ironmesh.agent.v1.AgentService";
/** The one call of hosts that are nobody yet. */
export const JOIN_PATH = `${SERVICE}/Join`;

/** Which status tells an agent what: all that is not listed is a refusal that trying again does not change. */
const STATUS_OF: Readonly<Record<string, GrpcStatusName>> = {
  MESH_CALLER_ANONYMOUS: "UNAUTHENTICATED",
  MESH_CSR_INVALID: "INVALID_ARGUMENT",
  MESH_TOKEN_MALFORMED: "INVALID_ARGUMENT",
  MESH_CA_BUSY: "UNAVAILABLE",
  MESH_STORE_BUSY: "UNAVAILABLE",
  MESH_STORE_FAILED: "UNAVAILABLE",
  MESH_STORE_CLOSED: "UNAVAILABLE",
};

/** The calls of the agent service that are the authority's. `Join` is the only one without a certificate. */
export function authorityHandlers(authority: CertificateAuthority): Record<string, UnaryHandler> {
  const anybody: CallPolicy = { maxMessageBytes: MAX_REQUEST_BYTES };
  const hosts: CallPolicy = {
    ...anybody,
    // Of the class only: what the host may have is judged with what it asks for.
    async authorize(peer) {
      try {
        await authority.identify(peer);
      } catch (failure) {
        throw refusalStatus(failure);
      }
    },
  };
  return {
    [JOIN_PATH]: unary(anybody, JoinRequestSchema, JoinResponseSchema, async ({ token, csr, hostName }, call) => {
      const { hostId, certificate, trustBundle } = await authority.join({ token, csr, hostName }, { address: call.peer.remoteAddress ?? "" });
      return {
        hostId,
        certificateChain: [...certificate.chain],
        trustBundle: [...trustBundle.roots],
        trustDomain: trustBundle.trustDomain,
      };
    }),
    [`${SERVICE}/RenewHost`]: unary(hosts, RenewHostRequestSchema, RenewHostResponseSchema, async ({ csr }, call) => {
      const { certificate, trustBundle } = await authority.renewHost(await authority.identify(call.peer), csr);
      return { certificateChain: [...certificate.chain], trustBundle: [...trustBundle.roots] };
    }),
    [`${SERVICE}/SignWorkload`]: unary(hosts, SignWorkloadRequestSchema, SignWorkloadResponseSchema, async ({ group, csr }, call) => {
      const certificate = await authority.signWorkload(await authority.identify(call.peer), group, csr);
      return { certificateChain: [...certificate.chain] };
    }),
  };
}

/** A refusal in the words and the code of the authority, as a gRPC status. */
export function refusalStatus(failure: unknown): unknown {
  if (failure instanceof GrpcError || !(failure instanceof CodedError)) return failure;
  return new GrpcError(STATUS_OF[failure.code] ?? "PERMISSION_DENIED", `${failure.code}: ${failure.message}`, failure);
}

function unary<Request extends DescMessage, Response extends DescMessage>(
  policy: CallPolicy,
  request: Request,
  response: Response,
  answer: (message: MessageShape<Request>, call: ServerCall) => Promise<MessageInitShape<Response>>,
): UnaryHandler {
  return {
    ...policy,
    kind: "unary",
    async handle(bytes, call) {
      let message: MessageShape<Request>;
      try {
        message = fromBinary(request, bytes);
      } catch (failure) {
        throw new GrpcError("INVALID_ARGUMENT", `the request cannot be decoded: ${messageOf(failure)}`, failure);
      }
      try {
        return toBinary(response, create(response, await answer(message, call)));
      } catch (failure) {
        throw refusalStatus(failure);
      }
    },
  };
}
