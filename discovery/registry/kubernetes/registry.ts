import type { Clock } from "../../../base/clock.ts";
import { SourceCollection } from "../../../base/collection.ts";
import { createSlicedWork } from "../../../base/sliced-work.ts";
import type { CodedError } from "../../../base/coded-error.ts";
import { parseLocality } from "../../../model/workload.ts";
import { RegistryActivity } from "../activity.ts";
import type { Registry, RegistryFailure, RegistryService } from "../registry.ts";
import { createKubernetesClient } from "../../kubernetes/client.ts";
import type { KubernetesAccess, KubernetesKind } from "../../kubernetes/client.ts";
import { FOLLOW_PACING, followKind } from "../../kubernetes/follow.ts";
import type { FollowPacing, ObjectChange } from "../../kubernetes/follow.ts";
import { identifyCluster } from "../../kubernetes/identity.ts";
import { meshNamespace, namespacePrefixOf, wantedNamespaces } from "../../kubernetes/namespaces.ts";
import type { NamespaceSettings } from "../../kubernetes/namespaces.ts";
import type { Reader } from "../../kubernetes/object.ts";
import { countWatches } from "./counted-watches.ts";
import { serviceNamedBy, targetOf } from "./external-name.ts";
import type { InstanceSettings } from "./instances.ts";
import { ObjectIndex } from "./object-index.ts";
import { readNode, readPod, readService, readSlice } from "./objects.ts";
import type { EndpointSlice, KubernetesService } from "./objects.ts";
import { buildKubernetesService } from "./service.ts";
import type { ServiceSettings } from "./service.ts";

export interface KubernetesRegistryOptions extends KubernetesAccess, NamespaceSettings {
  readonly meshDomain: string;
  readonly clusterDomain?: string | undefined;
  readonly istioPods?: InstanceSettings["istioPods"] | undefined;
  readonly network?: string | undefined;
  /** `region/zone` of nodes that do not say it. */
  readonly locality?: string | undefined;
  readonly pacing?: Partial<RegistryPacing>;
  readonly clock: Clock;
  /** Called once, when the first complete content is published. */
  readonly onSynced?: () => void;
}

export interface RegistryPacing extends FollowPacing {
  /** Changes so close together are told as one: an instance is a pod and a slice, which come by different watches. */
  readonly gatherMs: number;
}

export const KUBERNETES_DEFAULTS = {
  clusterDomain: "cluster.local",
  // Istio's own default takes plaintext too.
  istioPods: "plaintext",
  pacing: { ...FOLLOW_PACING, gatherMs: 50 },
} as const;

const KINDS = {
  services: { path: "/api/v1/services" },
  endpointslices: { path: "/apis/discovery.k8s.io/v1/endpointslices" },
  // Finished pods serve nothing, and a cluster may hold thousands of them.
  pods: { path: "/api/v1/pods", fieldSelector: "status.phase!=Succeeded,status.phase!=Failed" },
  nodes: { path: "/api/v1/nodes" },
} as const satisfies Readonly<Record<string, KubernetesKind>>;

/** Services that are built without a pause, whatever else waits: some 10 ms of work. */
const AT_ONCE = 256;

type KindName = keyof typeof KINDS;

/** What services can be told without. */
const DISPENSABLE: ReadonlySet<KindName> = new Set(["pods", "nodes"]);

/** How following one kind goes. */
interface Following {
  readonly name: KindName;
  /** It was read once, or may not be read and is no condition. */
  isSettled: boolean;
  confirmedAt: number | undefined;
  failure: RegistryFailure | undefined;
  readonly problems: Map<string, string>;
}

/** Reads one Kubernetes cluster: its services, endpoint slices, pods and nodes, each by a list and a watch. */
export function createKubernetesRegistry(options: KubernetesRegistryOptions): Registry {
  const { name, clock } = options;
  const pacing: RegistryPacing = { ...KUBERNETES_DEFAULTS.pacing, ...options.pacing };
  const settings: ServiceSettings = {
    registry: name,
    meshDomain: options.meshDomain,
    namespacePrefix: namespacePrefixOf(options),
    clusterDomain: options.clusterDomain ?? KUBERNETES_DEFAULTS.clusterDomain,
    network: options.network ?? "",
    locality: parseLocality(options.locality),
    istioPods: options.istioPods ?? KUBERNETES_DEFAULTS.istioPods,
  };
  const { client, open: openWatches } = countWatches(createKubernetesClient(options, clock));
  const activity = new RegistryActivity();
  const services = new SourceCollection<RegistryService>();
  const index = new ObjectIndex((service) => serviceNamedBy(service, settings.clusterDomain));
  const followings: Following[] = [];
  /** Services to be built again. */
  const dirty = new Set<string>();
  /** Those of them that single events were about. */
  const urgent = new Set<string>();
  /** Built, and not published yet. */
  const built = new Map<string, RegistryService | undefined>();
  let hasChanged = false;
  /** Events behind them. */
  let gathered = 0;
  /** When the first of what is not published yet happened in the cluster, as far as that is known. */
  let changedAt: number | undefined;
  let cancelBuild: (() => void) | undefined;
  let isPublished = false;
  const closing = new AbortController();
  let finished: Promise<unknown> | undefined;

  const isWanted = wantedNamespaces(options);
  // Before the first content is complete none of it is told.
  const work = createSlicedWork(clock, buildAll, end, () => isPublished && publish());

  function follow<T>(kind: KindName, read: Reader<T>, take: (changes: readonly ObjectChange<T>[]) => Iterable<string>): Promise<void> {
    const following: Following = { name: kind, isSettled: false, confirmedAt: undefined, failure: undefined, problems: new Map() };
    followings.push(following);
    return followKind<T>(
      {
        client,
        kind: KINDS[kind],
        identify: (signal) => identifyCluster(client, signal),
        read,
        isWanted,
        clock,
        pacing,
        onContent(changes) {
          for (const { key, seen } of changes) {
            if (seen?.problem === undefined) following.problems.delete(key);
            else following.problems.set(key, seen.problem);
          }
          // What is not understood any more stays as it was understood last.
          const touched = new Set(take(changes.filter(({ seen }) => seen?.problem === undefined)));
          // What is a name of a service changes with it, and what is a name of that; a set goes on to what is added meanwhile.
          for (const service of touched) for (const name of index.namesOf(service)) touched.add(name);
          for (const service of touched) dirty.add(service);
          // A list has many, and tells of all that is there.
          if (changes.length === 1) for (const service of touched) urgent.add(service);
          if (touched.size === 0) activity.woke(false);
          else gathered += 1;
          following.isSettled = true;
          plan();
        },
        onConfirmed() {
          following.confirmedAt = clock.elapsed();
          activity.answered(clock.now());
        },
        onFailure(failure) {
          activity.failed(failure);
          following.failure = failureOf(failure, following.failure);
          // Labels and places are worth waiting for, not doing without everything. A server that has just started denies all for a moment.
          const isAnswered = followings.every(({ name: other, isSettled }) => isSettled || DISPENSABLE.has(other));
          if (DISPENSABLE.has(kind) && isAnswered && failure?.code === "MESH_REGISTRY_DENIED") following.isSettled = true;
          plan();
        },
      },
      closing.signal,
    );
  }

  /** Publishes in a moment. The first content is published as a whole: no half states. */
  function plan(): void {
    if (cancelBuild !== undefined || closing.signal.aborted) return;
    if (followings.some(({ isSettled }) => !isSettled)) return;
    if (isPublished && dirty.size === 0) return;
    cancelBuild = clock.after(isPublished ? pacing.gatherMs : 0, build);
  }

  /** Thousands take turns with everything else; what few events are about does not wait for them. */
  function build(): void {
    cancelBuild = undefined;
    if (isPublished) {
      for (const key of urgent.values().take(AT_ONCE)) buildOne(key);
      publish();
    }
    urgent.clear();
    work.run();
  }

  function* buildAll(): Generator<void, void> {
    for (const key of dirty) {
      buildOne(key);
      yield;
    }
  }

  function publish(): void {
    const before = [...built.keys()].map((key) => services.get(key));
    services.apply(built);
    hasChanged ||= [...built.keys()].some((key, at) => services.get(key) !== before[at]);
    built.clear();
  }

  function end(): void {
    publish();
    activity.woke(hasChanged, gathered);
    hasChanged = false;
    gathered = 0;
    // A first list tells of changes that nobody was there to hear of.
    if (isPublished && changedAt !== undefined) activity.lagged(clock.now() - changedAt);
    changedAt = undefined;
    if (isPublished) return;
    isPublished = true;
    options.onSynced?.();
  }

  function buildOne(key: string): void {
    dirty.delete(key);
    const service = index.services.get(key);
    built.set(key, service === undefined ? undefined : builtOf(service));
  }

  function builtOf(service: KubernetesService): RegistryService | undefined {
    const target = targetOf(service, index.services, settings.clusterDomain);
    return buildKubernetesService(service, index.slicesOf(`${target.namespace}/${target.name}`), index, settings, target);
  }

  function takeSlices(changes: readonly ObjectChange<EndpointSlice>[]): Iterable<string> {
    for (const { key, seen } of changes) {
      const at = seen?.value?.service === undefined ? undefined : seen.value.changedAt;
      if (at !== undefined && at !== index.slice(key)?.changedAt) changedAt = Math.min(at, changedAt ?? at);
    }
    return index.takeSlices(changes);
  }

  function failureOf(failure: CodedError | undefined, before: RegistryFailure | undefined): RegistryFailure | undefined {
    if (failure === undefined) return undefined;
    const { code, message, hint } = failure;
    return { code, message, ...(hint === undefined ? {} : { hint }), since: before?.since ?? clock.now() };
  }

  /** Namespaces with services whose names would be too long. */
  function unmapped(): string[] {
    const namespaces = new Set([...index.services.values()].map(({ namespace }) => namespace));
    return [...namespaces].filter((namespace) => meshNamespace(namespace, settings) === undefined);
  }

  /** Namespaces that are asked for in vain: they may be misspelt. */
  function unserved(): string[] {
    if (!isPublished || options.namespaces === undefined) return [];
    const namespaces = new Set([...index.services.values()].map(({ namespace }) => namespace));
    return options.namespaces.filter((namespace) => !namespaces.has(namespace)).map((namespace) => `namespace ${namespace} has no service, or is not there`);
  }

  return {
    name,
    services,
    // Instances belong to their services: whoever labels pods is selected by nobody outside of the cluster.
    workloads: new SourceCollection(),
    templates: new SourceCollection(),

    start() {
      finished ??= Promise.all([
        follow("services", readService, (changes) => index.takeServices(changes)),
        follow("endpointslices", readSlice, takeSlices),
        follow("pods", readPod, (changes) => index.takePods(changes)),
        follow("nodes", readNode, (changes) => index.takeNodes(changes)),
      ]);
    },

    status() {
      const failed = followings.flatMap(({ failure }) => failure ?? []);
      const [lastError] = failed;
      // What is not known since a while counts, also where others are fresh; what was never known has no age.
      const confirmed = followings.flatMap(({ confirmedAt }) => confirmedAt ?? []);
      const content = [...services.entries()];
      return {
        name,
        kind: "kubernetes",
        synced: isPublished,
        ...(isPublished && confirmed.length > 0 ? { ageMs: clock.elapsed() - Math.min(...confirmed) } : {}),
        ...(lastError === undefined ? {} : { lastError }),
        services: content.length,
        workloads: content.reduce((sum, [, { backends }]) => sum + (backends.kind === "explicit" ? backends.workloads.length : 0), 0),
        notes: [
          ...unmapped().map((namespace) => `namespace ${namespace} is left out: ${settings.namespacePrefix}${namespace} is longer than a DNS label`),
          ...followings.flatMap(({ name: kind, problems }) => [...problems].map(([key, problem]) => `${kind} ${key} is not understood: ${problem}`)),
          ...unserved(),
          // One cause is said once, where every kind suffers from it.
          ...new Set(failed.map(({ message }) => message).filter((message) => message !== lastError?.message)),
          ...content.flatMap(([key, { notes }]) => notes.map((note) => `${key}: ${note}`)),
        ].sort(),
        counters: activity.counters(openWatches()),
      };
    },

    async close() {
      closing.abort();
      cancelBuild?.();
      work.close();
      await finished;
      client.close();
    },
  };
}
