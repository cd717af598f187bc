import { type Change, type Collection, SourceCollection } from "../base/collection.ts";
import type { AnyResource, ResourceOf } from "../api/resource.ts";
import { formatSpiffeId, workloadId } from "../model/identity.ts";
import type { WorkloadTemplate } from "./registry/registry.ts";
import type { HostRecord } from "./registry/agents/host-record.ts";
import type { ProxyHost } from "./push/inputs.ts";

interface ProxyHostsOptions {
  readonly hosts: Collection<HostRecord>;
  /** WorkloadGroups by `NAMESPACE/NAME`. */
  readonly templates: Collection<WorkloadTemplate>;
  readonly config: Collection<AnyResource>;
  readonly trustDomain: string;
}

/** Enrolled hosts as their proxies see them: with the identity that each workload's group has now. */
export function followProxyHosts(options: ProxyHostsOptions): { readonly proxies: Collection<ProxyHost>; close(): void } {
  const { hosts, templates, config, trustDomain } = options;
  const proxies = new SourceCollection<ProxyHost>();
  const refresh = (ids: Iterable<string>): void => proxies.apply([...ids].map((id) => [id, build(hosts.get(id))]));

  const build = (host: HostRecord | undefined): ProxyHost | undefined => {
    if (host === undefined) return undefined;
    return {
      hostId: host.hostId,
      inboundPort: host.report.inboundPort,
      workloads: host.workloads.flatMap(({ name, group, key, outboundPort }) => {
        const template = templates.get(group);
        if (template === undefined) return [];
        const identity = formatSpiffeId(workloadId(trustDomain, template.namespace, template.serviceAccount));
        return [{ name, group, workload: key, identity, outboundPort, probe: probeOf(group) }];
      }),
    };
  };
  const probeOf = (group: string): string => {
    const resource = config.get(`WorkloadGroup/${group}`) as ResourceOf<"WorkloadGroup"> | undefined;
    return resource?.spec.probe === undefined ? "" : JSON.stringify(resource.spec.probe);
  };
  const ofGroups = (groups: ReadonlySet<string>): string[] =>
    [...hosts.entries()].filter(([, host]) => host.workloads.some(({ group }) => groups.has(group))).map(([id]) => id);

  const stops = [
    hosts.subscribe((changes) => refresh(changes.map(({ key }) => key))),
    templates.subscribe((changes) => refresh(ofGroups(new Set(changes.map(({ key }) => key))))),
    config.subscribe((changes: readonly Change<AnyResource>[]) => {
      const groups = changes.map(({ key }) => key).filter((key) => key.startsWith("WorkloadGroup/"));
      if (groups.length > 0) refresh(ofGroups(new Set(groups.map((key) => key.slice("WorkloadGroup/".length)))));
    }),
  ];
  refresh(hosts.entries().keys());
  return {
    proxies,
    close() {
      for (const stop of stops) stop();
    },
  };
}
