import { Counter, Gauge, Registry } from "prom-client";

import type { DnsCounters } from "./dns/server.ts";

export interface AgentMetricsInput {
  readonly openTasks: readonly string[];
  readonly dns: DnsCounters | undefined;
  readonly restarts: number;
}

/** The agent's own metrics as Prometheus text; Envoy's go before them. */
export async function agentMetrics({ openTasks, dns, restarts }: AgentMetricsInput): Promise<string> {
  const registers = [new Registry()];
  new Gauge({ name: "ironmesh_agent_ready", help: "1 when nothing keeps the host from being ready", registers }).set(openTasks.length === 0 ? 1 : 0);
  new Counter({ name: "ironmesh_agent_envoy_restarts_total", help: "How often Envoy ended and was started again", registers }).inc(restarts);
  if (dns !== undefined) {
    const queries = new Counter({ name: "ironmesh_agent_dns_queries_total", help: "Queries by what became of them", labelNames: ["outcome"], registers });
    for (const [outcome, count] of Object.entries(dns)) queries.inc({ outcome }, count);
  }
  return registers.map((registry) => registry.metrics())[0] ?? "";
}
