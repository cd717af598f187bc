import { create } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { RouteConfigurationSchema } from "../../proto/gen/envoy/config/route/v3/route_pb.js";
import type { InboundPortIr, HostWorkloadIr } from "../ir/proxy.ts";
import { duration } from "./duration.ts";
import { inboundClusterName } from "./fixed-clusters.ts";
import { HTTP_FILTERS } from "./http-filter/filters.ts";
import { sortedByKey, translated, type TranslatedResource } from "./resource.ts";

export function inboundTableName(workload: HostWorkloadIr, { port }: InboundPortIr): string {
  return `inbound|${workload.name}|${port}`;
}

/** Everything to the application; the policies of the port are settings of this one route. */
export function translateInboundRoute(workload: HostWorkloadIr, port: InboundPortIr): TranslatedResource {
  const name = inboundTableName(workload, port);
  return translated(
    RouteConfigurationSchema,
    name,
    create(RouteConfigurationSchema, {
      name,
      virtualHosts: [
        {
          name: "application",
          domains: ["*"],
          routes: [
            {
              name: "application",
              match: { pathSpecifier: { case: "prefix", value: "/" } },
              action: {
                case: "route",
                value: {
                  clusterSpecifier: { case: "cluster", value: inboundClusterName(port.port) },
                  // The caller's proxy keeps the time.
                  timeout: duration(0),
                  maxStreamDuration: { maxStreamDuration: duration(0), grpcTimeoutHeaderMax: duration(0) },
                },
              },
              typedPerFilterConfig: filterSettings(port),
            },
          ],
        },
      ],
    }),
  );
}

function filterSettings(port: InboundPortIr): Record<string, Any> {
  const settings = HTTP_FILTERS.flatMap(({ name, inboundRoute }) =>
    inboundRoute === undefined ? [] : [[name, inboundRoute(port)] as const],
  );
  return sortedByKey(Object.fromEntries(settings));
}
