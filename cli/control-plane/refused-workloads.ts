import type { Collection } from "../../base/collection.ts";
import type { Logger } from "../../base/logger.ts";
import type { Closable } from "../../base/task-group.ts";
import type { HostRecord } from "../../discovery/registry/agents/host-record.ts";

/** Says once what is not taken of a host's report, and once that it is taken after all. */
export function logRefusedWorkloads(hosts: Collection<HostRecord>, logger: Logger): Closable {
  const stop = hosts.subscribe((changes) => {
    for (const { key: hostId, before, after } of changes) {
      if (after === undefined) continue;
      const facts = { hostId, hostName: after.report.hostName };
      const [known, now] = [before?.refusals ?? [], after.refusals];
      for (const { workload, reason } of now) {
        if (known.some((one) => one.workload === workload && one.reason === reason)) continue;
        logger.warn({ ...facts, workload, reason }, "a workload that a host reports is not taken");
      }
      for (const { workload } of known) {
        if (now.some((one) => one.workload === workload)) continue;
        logger.info({ ...facts, workload }, "a workload that was not taken is taken, or reported no more");
      }
    }
  });
  return { close: stop };
}
