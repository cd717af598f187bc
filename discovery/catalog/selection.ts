import type { Change } from "../../base/collection.ts";
import type { Workload } from "../../model/workload.ts";
import type { WorkloadTemplate } from "../registry/registry.ts";
import type { Claim } from "./claims.ts";
import { WorkloadIndex } from "./workload-index.ts";

/**
 * Which instances serve a claimed service: its own, or those that its selector
 * selects. A selector sees the instances that belong to no service, and those
 * of services of other registries only where it names these: whoever may
 * register there says by labels what their instances are.
 */
export class Selection {
  readonly #claims = new Map<string, Claim>();
  readonly #free = new WorkloadIndex<Workload>();
  readonly #groups = new WorkloadIndex<WorkloadTemplate>();
  /** Instances that services of the opened registries have. */
  readonly #owned = new WorkloadIndex<Workload>();
  /** Registries that some selector has named since the start: only their instances are worth an index. */
  readonly #opened = new Set<string>();

  /** Sets a claim, or takes it away; gives the ids of claims that select otherwise now, its own aside. */
  set(id: string, claim: Claim | undefined): Set<string> {
    const before = this.#claims.get(id);
    if (claim === undefined) this.#claims.delete(id);
    else this.#claims.set(id, claim);
    const backends = claim?.service.backends;
    const selector = claim === undefined || backends?.kind !== "selector" ? undefined : { namespace: claim.service.namespace, labels: backends.labels };
    for (const index of [this.#free, this.#groups]) index.setSelector(id, selector);
    const registries = backends?.kind === "selector" ? (backends.registries ?? []) : [];
    for (const registry of registries) this.#open(registry);
    this.#owned.setSelector(id, registries.length === 0 ? undefined : selector);
    const registry = (claim ?? before)?.registry;
    return registry !== undefined && this.#opened.has(registry) ? this.#owned.apply(changesOf(before, claim)) : new Set();
  }

  /** True where some selector has named the registry since the start. */
  isOpened(registry: string): boolean {
    return this.#opened.has(registry);
  }

  /** Takes instances that belong to no service; gives the ids of claims that select otherwise now. */
  takeWorkloads(changes: readonly Change<Workload>[]): Set<string> {
    return this.#free.apply(changes);
  }

  /** Takes groups of instances; gives the ids of claims that select otherwise now. */
  takeTemplates(changes: readonly Change<WorkloadTemplate>[]): Set<string> {
    return this.#groups.apply(changes);
  }

  instances({ id, service: { backends } }: Claim): readonly Workload[] {
    if (backends.kind === "explicit") return backends.workloads;
    const { registries = [] } = backends;
    const owned = registries.length === 0 ? [] : this.#owned.selected(id).filter(({ source }) => registries.includes(source.registry));
    return [...this.#free.selected(id), ...owned];
  }

  /** True where a group of instances to come serves it. */
  hasGroup({ id }: Claim): boolean {
    return this.#groups.selected(id).length > 0;
  }

  #open(registry: string): void {
    if (this.#opened.has(registry)) return;
    this.#opened.add(registry);
    for (const claim of this.#claims.values()) if (claim.registry === registry) this.#owned.apply(changesOf(undefined, claim));
  }
}

/** An instance may be several services', with other ports in each. */
function changesOf(before: Claim | undefined, after: Claim | undefined): Change<Workload>[] {
  const earlier = instancesOf(before);
  const later = instancesOf(after);
  return [...new Set([...earlier.keys(), ...later.keys()])].map((key) => {
    const [was, is] = [earlier.get(key), later.get(key)];
    return { key, ...(was === undefined ? {} : { before: was }), ...(is === undefined ? {} : { after: is }) };
  });
}

function instancesOf(claim: Claim | undefined): Map<string, Workload> {
  if (claim?.service.backends.kind !== "explicit") return new Map();
  return new Map(claim.service.backends.workloads.map((workload) => [`${claim.id} ${workload.key}`, workload]));
}
