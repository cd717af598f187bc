import { type Change, presentIn } from "../../base/collection.ts";
import type { Closable } from "../../base/task-group.ts";
import type { ResourceKey } from "../../api/resource.ts";
import type { Service } from "../../model/service.ts";
import { createResourceSet, type ResourceSet } from "../../xds/resource-set.ts";
import { followAddressedServices } from "./addressed-services.ts";
import { ConfigIndex, followConfig } from "./config-index.ts";
import type { PushInputs } from "./inputs.ts";
import { OutboundPush } from "./outbound-push.ts";
import { ProxyPush } from "./proxy-push.ts";
import { createSlicedWork } from "../../base/sliced-work.ts";
import type { OutboundServiceIr } from "../ir/outbound.ts";
import type { ProxyIr } from "../ir/proxy.ts";

/**
 * Turns changes of the catalog and the configuration into changes of resource
 * sets, at a cost proportional to the change. Building much takes turns with
 * everything else; what was built is seen all at once. What streams do with the
 * sets is not known here.
 */
export interface Push extends Closable {
  /** What every proxy of the mesh sees. */
  readonly shared: ResourceSet;
  /** What is one host's own. */
  setOf(hostId: string): ResourceSet;
  /** The configuration resources behind a generated one, for a host that rejected it. */
  causesOf(hostId: string, typeUrl: string, name: string): ResourceKey[];
  /** The configuration resources that speak for a service, by its key. */
  causesOfService(service: string): ResourceKey[];
  outboundIr(service: string): OutboundServiceIr | undefined;
  proxyIr(hostId: string): ProxyIr | undefined;
  /** Builds what is stale now, without a pause, instead of at the end of the batch. */
  flush(): void;
}

export function startPush(inputs: PushInputs): Push {
  const { endpoints, workloads, names, config, hosts, trustBundles, settings, clock } = inputs;
  const shared = createResourceSet();
  const index = new ConfigIndex(settings);
  const onServices = (changes: readonly Change<Service>[]): void => {
    outbound.touchServices(changes);
    proxies.touchServices(changes);
    later();
  };
  const services = followAddressedServices(inputs.services, inputs.awaitingAddress, onServices);
  const outbound = new OutboundPush({ ...inputs, services }, index, shared, () => later());
  const proxies = new ProxyPush({ ...inputs, services }, index, () => outbound.shape());
  let cancelFlush: (() => void) | undefined;

  /**
   * What is shared is true of one moment: that at which nothing of it was stale.
   * All hosts follow, and what changes meanwhile is for the next build: changes
   * that come faster than hosts are built must not put off what came before.
   */
  function* build(): Generator<void, void> {
    do yield* outbound.build();
    while (outbound.isStale());
    if (outbound.takeShapeChange()) proxies.touchShape();
    yield* proxies.build();
  }
  const isStale = (): boolean => outbound.isStale() || proxies.isStale();
  const commit = (): void => {
    // Clusters and routes are in the shared set before a listener points at them, and no stream is served in between.
    outbound.commit();
    proxies.commit();
    if (isStale()) later();
  };
  const work = createSlicedWork(clock, build, commit, () => outbound.writeAhead());
  const flush = (): void => {
    do work.finish();
    while (isStale());
    cancelFlush?.();
    cancelFlush = undefined;
  };
  const later = (): void => {
    if (work.isRunning()) return;
    cancelFlush ??= clock.after(settings.batchMs, () => {
      cancelFlush = undefined;
      work.run();
    });
  };
  const onEndpoints: Parameters<typeof endpoints.subscribe>[0] = (changes) => {
    outbound.touchEndpoints(changes);
    proxies.touchEndpoints(changes);
    later();
  };
  const stops = [
    followConfig(index, config, (dependencies) => {
      outbound.touchConfig(dependencies);
      proxies.touchConfig(dependencies);
      later();
    }),
    names.subscribe((changed) => {
      outbound.touchNames(changed);
      later();
    }),
    () => services.close(),
    endpoints.subscribe(onEndpoints),
    workloads.subscribe((changes) => {
      proxies.touchWorkloads(changes);
      later();
    }),
    hosts.subscribe((changes) => {
      proxies.touchHosts(changes);
      later();
    }),
    trustBundles.subscribe(() => {
      outbound.touchTrustBundles();
      proxies.touchTrustBundles();
      later();
    }),
  ];
  onServices(presentIn(services));
  onEndpoints(presentIn(endpoints));
  proxies.touchHosts(presentIn(hosts));
  flush();

  return {
    shared,
    setOf: (hostId) => proxies.setOf(hostId),
    causesOf: (hostId, typeUrl, name) =>
      shared.get(typeUrl, name) === undefined ? proxies.causesOf(hostId) : outbound.causesOf(typeUrl, name),
    causesOfService: (service) => outbound.causesOfService(service),
    outboundIr: (service) => outbound.ir(service),
    proxyIr: (hostId) => proxies.ir(hostId),
    flush,
    close() {
      cancelFlush?.();
      work.close();
      for (const stop of stops) stop();
      outbound.close();
    },
  };
}
