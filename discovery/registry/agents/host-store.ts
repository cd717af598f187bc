import { z } from "zod";
import type { KeyValueStore } from "../../../store/key-value.ts";
import type { Place } from "./address-claims.ts";
import type { HostReport } from "./report.ts";

const PREFIX = "hosts/";

/** What a control plane must know of a host right after its own restart. */
export interface StoredHost {
  readonly report: HostReport;
  /** Since when the host is gone; absent for one that was there. */
  readonly goneSince?: number;
  /** The places that it had. */
  readonly holds: readonly Place[];
}

/** Fields of a later version are let be: a version back must not forget every host. */
const storedHost = z.object({
  goneSince: z.number().optional(),
  holds: z.array(z.string()).default([]),
  report: z.object({
    hostName: z.string(),
    agentVersion: z.string(),
    envoyVersion: z.string(),
    inboundPort: z.number(),
    workloads: z.array(
      z.object({
        name: z.string(),
        group: z.string(),
        addresses: z.array(z.string()),
        ports: z.record(z.string(), z.number()),
        health: z.enum(["healthy", "unhealthy", "draining", "unknown"]),
        healthDetail: z.string(),
        outboundPort: z.number(),
      }),
    ),
    facts: z.object({
      os: z.string(),
      kernel: z.string(),
      architecture: z.string(),
      cpus: z.number(),
      memoryBytes: z.number(),
      addresses: z.array(z.string()),
      locality: z.string(),
      capture: z.string(),
      bootedAt: z.string(),
    }),
  }),
});

/** The hosts that the store knows, by id; an entry that another version wrote and this one cannot read is left out. */
export async function loadHosts(store: KeyValueStore): Promise<Map<string, StoredHost>> {
  const { items } = await store.list(PREFIX);
  return new Map(
    items.flatMap(({ key, value }): [string, StoredHost][] => {
      const parsed = storedHost.safeParse(parseJson(value));
      if (!parsed.success) return [];
      const { report, goneSince, holds } = parsed.data;
      return [[key.slice(PREFIX.length), { report, holds, ...(goneSince === undefined ? {} : { goneSince }) }]];
    }),
  );
}

/** Where a host is kept. */
export function hostKey(hostId: string): string {
  return PREFIX + hostId;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
