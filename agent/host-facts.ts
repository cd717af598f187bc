import { availableParallelism, totalmem, uptime } from "node:os";

import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { osInfo } from "systeminformation";

import { HostFactsSchema } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import type { HostFacts } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";

/** What the host says about itself beside its workloads. What never changes while the machine is up is asked once. */
export async function readHostFacts(input: { readonly addresses: readonly string[]; readonly locality: string; readonly capture: string; readonly nowMs: number }): Promise<HostFacts> {
  fixed ??= osInfo().then(({ distro, release, kernel, arch }) => ({ os: [distro, release].filter(Boolean).join(" "), kernel, architecture: arch }));
  // Rounded to ten seconds: jitter must not look like a reboot.
  const bootedAtMs = Math.round((input.nowMs - uptime() * 1_000) / 10_000) * 10_000;
  return create(HostFactsSchema, {
    ...(await fixed),
    cpus: availableParallelism(),
    memoryBytes: BigInt(totalmem()),
    addresses: [...input.addresses],
    locality: input.locality,
    capture: input.capture,
    bootedAt: timestampFromMs(bootedAtMs),
  });
}

let fixed: Promise<{ readonly os: string; readonly kernel: string; readonly architecture: string }> | undefined;
