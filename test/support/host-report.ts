import type { HostReport, WorkloadReport } from "../../discovery/registry/agents/report.ts";

/** A host's report with these workloads and plausible facts. */
export function hostReport(workloads: readonly WorkloadReport[], hostName = "vm-1"): HostReport {
  return {
    hostName,
    agentVersion: "0.1.0",
    envoyVersion: "1.40.0",
    inboundPort: 15_006,
    workloads,
    facts: {
      os: "debian 12",
      kernel: "6.1",
      architecture: "x64",
      cpus: 2,
      memoryBytes: 1_024,
      addresses: ["10.0.0.1"],
      locality: "eu/eu-1",
      capture: "nft",
      bootedAt: "",
    },
  };
}

export function workloadReport(overrides: Partial<WorkloadReport> = {}): WorkloadReport {
  return {
    name: "web",
    group: "shop/web",
    addresses: ["10.0.0.1"],
    ports: {},
    health: "healthy",
    healthDetail: "",
    outboundPort: 15_101,
    ...overrides,
  };
}
