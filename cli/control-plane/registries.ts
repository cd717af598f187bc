import { readFile } from "node:fs/promises";
import type { Clock } from "../../base/clock.ts";
import { CodedError } from "../../base/coded-error.ts";
import { createConsulRegistry } from "../../discovery/registry/consul/registry.ts";
import { keepLastGood, type LastGoodRegistry } from "../../discovery/registry/last-good.ts";
import type { KeyValueStore } from "../../store/key-value.ts";
import type { ControlPlaneConfig } from "./config.ts";

type RegistryConfig = ControlPlaneConfig["registries"][number];

interface Surroundings {
  readonly meshDomain: string;
  readonly store: KeyValueStore;
  readonly clock: Clock;
}

/** Makes a configured registry with what it said last, so that a start while it is away changes nothing. */
export async function openRegistry(config: RegistryConfig, { meshDomain, store, clock }: Surroundings): Promise<LastGoodRegistry> {
  const { name, namespace, address, datacenter, tokenFile, caFile, addressTag, ignoredServices } = config;
  const ca = caFile === undefined ? undefined : await readPem(caFile);
  const registry = keepLastGood(
    (onSynced) =>
      createConsulRegistry({
        name,
        namespace,
        meshDomain,
        address,
        datacenter,
        tokenFile,
        clock,
        onSynced,
        ...(ca === undefined ? {} : { ca }),
        ...(addressTag === undefined ? {} : { addressTag }),
        ...(ignoredServices === undefined ? {} : { ignoredServices }),
      }),
    { store, clock },
  );
  await registry.load();
  return registry;
}

async function readPem(path: string): Promise<string> {
  return readFile(path, "utf8").catch((cause: unknown) => {
    throw new CodedError("MESH_FILE_UNREADABLE", `cannot read ${path}`, { cause, hint: "check the path and its permissions" });
  });
}
