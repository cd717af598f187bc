import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { Catalog } from "../../discovery/catalog/catalog.ts";
import type { Push } from "../../discovery/push/push.ts";
import { OwnNodes } from "../../discovery/registry/consul/publish/own-nodes.ts";
import { createPublisher, type Publisher } from "../../discovery/registry/consul/publish/publisher.ts";
import type { WorkloadKey } from "../../model/workload.ts";
import type { KeyValueStore } from "../../store/key-value.ts";
import type { RegistryConfig } from "./config.ts";
import { consulTls } from "./consul-tls.ts";

interface Surroundings {
  readonly trustDomain: string;
  readonly store: KeyValueStore;
  readonly catalog: Catalog;
  readonly push: Pick<Push, "proxyIr">;
  /** How long hosts may take to return after a start. */
  readonly returnMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Makes what publishes in a registry; undefined where nothing is to be published there. */
export async function openPublisher(config: RegistryConfig, surroundings: Surroundings): Promise<Publisher | undefined> {
  if (config.kind !== "consul" || config.publish === undefined) return undefined;
  const { name, address, serverName, datacenter, publish } = config;
  const { trustDomain, store, catalog, push, returnMs, clock, logger } = surroundings;
  const tls = consulTls(config);
  await tls();
  return createPublisher({
    owner: `${trustDomain}/${name}`,
    address,
    datacenter,
    tls,
    serverName,
    tokenFile: publish.tokenFile ?? config.tokenFile,
    node: publish.node,
    ownNodes: new OwnNodes(store, name),
    from: publish.from,
    namespaces: publish.namespaces,
    selector: publish.selector,
    nameTemplate: publish.name,
    tags: publish.tags,
    ...(publish.sharedNames === undefined ? {} : { sharedNames: publish.sharedNames }),
    services: catalog.services,
    endpoints: catalog.endpoints,
    workloads: catalog.workloads,
    refusesPlain: (workload, at, port) => refusesPlain(catalog, push, workload, at, port),
    pacing: { holdMs: returnMs },
    clock,
    logger: logger.child({ registry: name }),
  });
}

/** As the host of the workload is told now; false for one that no host of the mesh runs. */
function refusesPlain(catalog: Catalog, push: Pick<Push, "proxyIr">, key: WorkloadKey, address: string, port: number): boolean {
  const hostId = catalog.workloads.get(key)?.hostId;
  const inbound = hostId === undefined ? [] : (push.proxyIr(hostId)?.workloads ?? []).flatMap((workload) => workload.inbound);
  return inbound.some((one) => one.port === port && one.mtls === "STRICT" && (one.addresses.length === 0 || one.addresses.includes(address)));
}
