import { readFile } from "node:fs/promises";
import type { Clock } from "../../base/clock.ts";
import { CodedError } from "../../base/coded-error.ts";
import { createConsulRegistry } from "../../discovery/registry/consul/registry.ts";
import { createKubernetesRegistry } from "../../discovery/registry/kubernetes/registry.ts";
import { keepLastGood, type LastGoodRegistry } from "../../discovery/registry/last-good.ts";
import type { Registry } from "../../discovery/registry/registry.ts";
import type { KeyValueStore } from "../../store/key-value.ts";
import type { RegistryConfig } from "./config.ts";

interface Surroundings {
  readonly meshDomain: string;
  readonly store: KeyValueStore;
  readonly clock: Clock;
}

/** Makes a configured registry with what it said last, so that a start while it is away changes nothing. */
export async function openRegistry(config: RegistryConfig, surroundings: Surroundings): Promise<LastGoodRegistry> {
  const create = config.kind === "consul" ? await prepareConsul(config, surroundings) : prepareKubernetes(config, surroundings);
  const registry = keepLastGood(create, { ...surroundings, kind: config.kind });
  await registry.load();
  return registry;
}

type Create = (onSynced: () => void) => Registry;

async function prepareConsul(config: Extract<RegistryConfig, { kind: "consul" }>, { meshDomain, clock }: Surroundings): Promise<Create> {
  const { name, namespace, address, datacenter, tokenFile, caFile, addressTag, ignoredServices } = config;
  const ca = caFile === undefined ? undefined : await readPem(caFile);
  return (onSynced) =>
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
    });
}

function prepareKubernetes({ kind: _kind, ...config }: Extract<RegistryConfig, { kind: "kubernetes" }>, { meshDomain, clock }: Surroundings): Create {
  return (onSynced) => createKubernetesRegistry({ ...config, meshDomain, clock, onSynced });
}

/** The text of a PEM file that the configuration names. */
export async function readPem(path: string): Promise<string> {
  return readFile(path, "utf8").catch((cause: unknown) => {
    throw new CodedError("MESH_FILE_UNREADABLE", `cannot read ${path}`, { cause, hint: "check the path and its permissions" });
  });
}
