import type { ClusterSchema } from "../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import { SocketOption_SocketState as SocketState } from "../../proto/gen/envoy/config/core/v3/socket_option_pb.js";
import type { Init } from "./resource.ts";

/*
 * A host that lost its power closes no connection. Requests on those that are
 * open would wait for the kernel to give up, which takes a quarter of an hour:
 * so bytes that nobody acknowledges end a connection (tcp(7), TCP_USER_TIMEOUT),
 * and probes do while it is silent. It needs no control plane to notice.
 */

const UNACKNOWLEDGED_MS = 15_000;
const IPPROTO_TCP = 6n;
const TCP_USER_TIMEOUT = 18n;

/** Fields of a cluster that has its connections end when the other side is gone. */
export const DEAD_PEERS: Pick<Init<typeof ClusterSchema>, "upstreamConnectionOptions" | "upstreamBindConfig"> = {
  upstreamConnectionOptions: { tcpKeepalive: { keepaliveTime: 30, keepaliveInterval: 5, keepaliveProbes: 3 } },
  upstreamBindConfig: {
    socketOptions: [
      {
        description: "TCP_USER_TIMEOUT",
        level: IPPROTO_TCP,
        name: TCP_USER_TIMEOUT,
        value: { case: "intValue", value: BigInt(UNACKNOWLEDGED_MS) },
        state: SocketState.STATE_PREBIND,
      },
    ],
  },
};
