import { join } from "node:path";
import { ensureGoPeer, goPeerPaths } from "./go-peer.ts";
import type { GoPeer } from "./go-peer.ts";

const CONSUL: GoPeer = {
  name: "consul",
  folder: join(import.meta.dirname, "..", "peers", "tools"),
  goVersion: "1.25.7",
  cpuMinutes: 8,
  programs: [{ command: "consul", version: "1.22.5", package: "github.com/hashicorp/consul" }],
  remedy: "install Consul (https://developer.hashicorp.com/consul/install)",
};

/** Where a Consul is, or why there is none and what a person can do about it. */
export type ConsulSearch = { readonly path: string } | { readonly missing: string };

/** The Consul to run; undefined without one. */
export function consulPath(): string | undefined {
  return goPeerPaths(CONSUL)?.get("consul");
}

/** Builds Consul where there is none. */
export async function ensureConsul(say?: (text: string) => void): Promise<ConsulSearch> {
  const found = await ensureGoPeer(CONSUL, say);
  return "missing" in found ? found : { path: found.paths.get("consul") ?? "" };
}
