import type { Clock } from "../../base/clock.ts";
import { consulAdmission } from "../../discovery/registry/consul/admission.ts";
import { CONSUL_DEFAULTS } from "../../discovery/registry/consul/defaults.ts";
import { createConsulRegistry } from "../../discovery/registry/consul/registry.ts";
import { kubernetesAdmission } from "../../discovery/registry/kubernetes/admission.ts";
import { createKubernetesRegistry } from "../../discovery/registry/kubernetes/registry.ts";
import { type Admission, keepLastGood, type LastGoodRegistry } from "../../discovery/registry/last-good.ts";
import type { KeyValueStore } from "../../store/key-value.ts";
import type { RegistryConfig } from "./config.ts";
import { consulTls } from "./consul-tls.ts";

interface Surroundings {
  readonly meshDomain: string;
  readonly store: KeyValueStore;
  readonly clock: Clock;
  /** All that are configured. */
  readonly registries: readonly RegistryConfig[];
}

/** Makes a configured registry with what it said last, so that a start while it is away changes nothing. */
export async function openRegistry(config: RegistryConfig, surroundings: Surroundings): Promise<LastGoodRegistry> {
  const { create, admission } = config.kind === "consul" ? await prepareConsul(config, surroundings) : prepareKubernetes(config, surroundings);
  const registry = keepLastGood(create, { ...surroundings, kind: config.kind, admission });
  await registry.load();
  return registry;
}

interface Prepared {
  readonly create: Parameters<typeof keepLastGood>[0];
  readonly admission: Admission;
}

async function prepareConsul(config: Extract<RegistryConfig, { kind: "consul" }>, { meshDomain, clock, registries }: Surroundings): Promise<Prepared> {
  const { kind: _kind, publish: _publish, agentCache, ignoredSources, maxConnections, maxAgeSeconds, ...told } = config;
  const tls = consulTls(config);
  // What cannot be read is said at the start, not at the first connection.
  await tls();
  const sameAddress = registries.filter((registry) => registry.kind === "consul" && registry.address === config.address).length;
  const settings = {
    ...told,
    meshDomain,
    // What the mesh publishes is never read back. Consul's catalog sync writes a cluster's services into Consul: they would be read twice.
    ignoredSources: [...CONSUL_DEFAULTS.ignoredSources, ...(ignoredSources ?? (registries.some(({ kind }) => kind === "kubernetes") ? ["kubernetes"] : []))],
  };
  const create: Prepared["create"] = (onSynced, recalled) =>
    createConsulRegistry({
      ...settings,
      clock,
      onSynced,
      recalled,
      tls,
      usesAgentCache: agentCache,
      maxAgeMs: maxAgeSeconds === undefined ? undefined : maxAgeSeconds * 1_000,
      // Consul's limit holds for all that one address of ours asks one agent.
      maxConnections: maxConnections ?? Math.max(8, Math.floor(CONSUL_DEFAULTS.maxConnections / sameAddress)),
    });
  return { create, admission: consulAdmission({ ...settings, ignoredServices: config.ignoredServices ?? CONSUL_DEFAULTS.ignoredServices }) };
}

function prepareKubernetes({ kind: _kind, resources: _resources, resourceHosts: _hosts, istioRootNamespace: _root, ...config }: Extract<RegistryConfig, { kind: "kubernetes" }>, { meshDomain, clock }: Surroundings): Prepared {
  return {
    create: (onSynced) => createKubernetesRegistry({ ...config, meshDomain, clock, onSynced }),
    admission: kubernetesAdmission({ ...config, meshDomain }),
  };
}
