import { err, ok } from "../../../base/result.ts";
import type { Result } from "../../../base/result.ts";
import { canonicalAddress, familyOf, isOwnToEachHost } from "../../../model/address.ts";
import type { Health, Workload } from "../../../model/workload.ts";
import { parseLocality, portNamed } from "../../../model/workload.ts";
import type { WorkloadTemplate } from "../registry.ts";
import { type Place, placeOf } from "./address-claims.ts";
import type { HostState } from "./host-record.ts";
import type { GrantCheck, HostReport, WorkloadReport } from "./report.ts";

export interface ReportedWorkload {
  /** Of the registry: `hosts`. */
  readonly registry: string;
  readonly hostId: string;
  readonly state: HostState;
  /** When that state began, in milliseconds since the epoch. */
  readonly since: number;
  readonly report: HostReport;
  readonly workload: WorkloadReport;
  readonly template: WorkloadTemplate | undefined;
  readonly grants: GrantCheck;
  /** The host that has a place and keeps it. */
  readonly rivalOf: (place: Place) => string | undefined;
}

/**
 * What the mesh takes from a host's word: where the instance is and how it
 * feels. All that gives rights (namespace, labels, identity, names of ports) is
 * the group's. The error says in words why the workload is not taken.
 */
export function buildReportedWorkload(input: ReportedWorkload): Result<Workload, string> {
  const { registry, hostId, report, workload, template, grants } = input;
  if (!grants.allowsGroup(hostId, workload.group)) return err(`the host was not granted the group ${workload.group}`);
  if (template === undefined) return err(`there is no WorkloadGroup ${workload.group}`);
  const wrong = workload.addresses.find((address) => familyOf(address) === undefined);
  if (wrong !== undefined) return err(`${wrong} is not an IP address`);
  const nobodys = workload.addresses.find(isOwnToEachHost);
  if (nobodys !== undefined) return err(`the address ${nobodys} means another host on every host`);
  const foreign = workload.addresses.find((address) => !grants.allowsAddress(hostId, address));
  if (foreign !== undefined) return err(`the address ${foreign} is outside of the host's grant`);
  if (workload.addresses.length === 0) return err("it has no address");
  const surplus = Object.keys(workload.ports).find((port) => portNamed(template, port) === undefined);
  if (surplus !== undefined) return err(`the group has no port named ${surplus}`);
  // One number that Envoy refuses would cost the service all of its endpoints.
  const [misnamed, number] = Object.entries(workload.ports).find(([, port]) => port < 1 || port > 65_535) ?? [];
  if (misnamed !== undefined) return err(`port ${misnamed} is ${number}, which is none`);
  // Another spelling is no other place: who is at it already keeps it.
  const addresses = [...new Set(workload.addresses.map(canonicalAddress))];
  const rival = addresses.find((address) => input.rivalOf(placeOf(template.network, address)) !== undefined);
  if (rival !== undefined) return err(`the address ${rival} is that of host ${input.rivalOf(placeOf(template.network, rival))}`);
  const { health, detail } = judge(input);
  return ok({
    key: `${registry}/${hostId}/${workload.name}`,
    namespace: template.namespace,
    name: `${workload.name}.${hostId}`,
    hostId,
    group: workload.group,
    addresses,
    ports: { ...template.ports, ...workload.ports },
    labels: template.labels,
    serviceAccount: template.serviceAccount,
    locality: parseLocality(template.locality === "" ? report.facts.locality : template.locality),
    network: template.network,
    weight: template.weight,
    health,
    ...(detail === "" ? {} : { healthDetail: detail }),
    meshed: true,
    source: { registry, object: `${report.hostName === "" ? hostId : report.hostName}/${workload.name}` },
  });
}

function judge({ state, since, workload }: ReportedWorkload): { readonly health: Health; readonly detail: string } {
  // Not `draining`: when every host is lost, trying them beats refusing, and only unhealthy ones are tried then.
  if (state === "gone") return { health: "unhealthy", detail: `its host has been silent since ${new Date(since).toISOString()}` };
  return { health: workload.health, detail: workload.healthDetail };
}
