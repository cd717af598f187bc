import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";

import type { CallOptions } from "../base/grpc/client.ts";
import {
  JoinRequestSchema,
  JoinResponseSchema,
  RenewHostRequestSchema,
  RenewHostResponseSchema,
  ReportRequestSchema,
  ReportResponseSchema,
  SignWorkloadRequestSchema,
  SignWorkloadResponseSchema,
} from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import type { JoinResponse, RenewHostResponse, ReportRequest, ReportResponse, SignWorkloadResponse } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";

/** The control plane's AgentService, as the agent calls it. Every call throws GrpcError or CodedError. */
export interface AgentService {
  join(request: MessageInitShape<typeof JoinRequestSchema>): Promise<JoinResponse>;
  renewHost(csr: Uint8Array): Promise<RenewHostResponse>;
  signWorkload(group: string, csr: Uint8Array): Promise<SignWorkloadResponse>;
  report(request: ReportRequest): Promise<ReportResponse>;
}

/** What carries a call; a GrpcClient fits. */
export interface UnaryCaller {
  unary(path: string, request: Uint8Array, options?: CallOptions): Promise<Uint8Array>;
}

const SERVICE = "/ironmesh.agent.v1.AgentService";
const CALL: CallOptions = { deadlineMs: 10_000 };

export function agentService(caller: UnaryCaller): AgentService {
  return {
    async join(request) {
      const bytes = toBinary(JoinRequestSchema, create(JoinRequestSchema, request));
      return fromBinary(JoinResponseSchema, await caller.unary(`${SERVICE}/Join`, bytes, CALL));
    },
    async renewHost(csr) {
      const bytes = toBinary(RenewHostRequestSchema, create(RenewHostRequestSchema, { csr }));
      return fromBinary(RenewHostResponseSchema, await caller.unary(`${SERVICE}/RenewHost`, bytes, CALL));
    },
    async signWorkload(group, csr) {
      const bytes = toBinary(SignWorkloadRequestSchema, create(SignWorkloadRequestSchema, { group, csr }));
      return fromBinary(SignWorkloadResponseSchema, await caller.unary(`${SERVICE}/SignWorkload`, bytes, CALL));
    },
    async report(request) {
      return fromBinary(ReportResponseSchema, await caller.unary(`${SERVICE}/Report`, toBinary(ReportRequestSchema, request), CALL));
    },
  };
}
