import type { Change } from "../../base/collection.ts";
import type { ServiceKey } from "../../model/service.ts";
import { selects } from "../../model/workload.ts";
import type { RegistryService } from "../registry/registry.ts";

/** What selectors look at: a workload, or a group of workloads to come. */
export interface Selectable {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * Finds the workloads that a selector selects, and the selectors that a changed
 * workload is or was selected by, without looking at all of either: both stand
 * under one label of the selector.
 */
export class WorkloadIndex<T extends Selectable> {
  readonly #workloads = new Map<string, Map<string, T>>();
  readonly #selectors = new Map<ServiceKey, { readonly namespace: string; readonly labels: Readonly<Record<string, string>> }>();
  readonly #servicesByLabel = new Map<string, Set<ServiceKey>>();

  /** Makes a service select by its labels, or no more. */
  setSelector(key: ServiceKey, service: RegistryService | undefined): void {
    const before = this.#selectors.get(key);
    if (before !== undefined) this.#servicesByLabel.get(anchor(before.namespace, before.labels))?.delete(key);
    this.#selectors.delete(key);
    if (service?.backends.kind !== "selector") return;
    const { namespace, backends } = service;
    this.#selectors.set(key, { namespace, labels: backends.labels });
    add(this.#servicesByLabel, anchor(namespace, backends.labels), key);
  }

  /** The workloads of a service that selects. */
  selected(key: ServiceKey): T[] {
    const selector = this.#selectors.get(key);
    if (selector === undefined) return [];
    const candidates = this.#workloads.get(anchor(selector.namespace, selector.labels));
    return [...(candidates?.values() ?? [])].filter((workload) => selects(selector.labels, workload.labels));
  }

  /** Takes changes and gives the services that select, or selected, what changed. */
  apply(changes: readonly Change<T>[]): Set<ServiceKey> {
    const touched = new Set<ServiceKey>();
    for (const { key, before, after } of changes) {
      if (before !== undefined) this.#move(before, touched, (anchored) => anchored.delete(key));
      if (after !== undefined) this.#move(after, touched, (anchored) => anchored.set(key, after));
    }
    return touched;
  }

  #move(workload: T, touched: Set<ServiceKey>, change: (anchored: Map<string, T>) => void): void {
    for (const place of anchorsOf(workload)) {
      const anchored = this.#workloads.get(place) ?? new Map<string, T>();
      change(anchored);
      if (anchored.size === 0) this.#workloads.delete(place);
      else this.#workloads.set(place, anchored);
      for (const key of this.#servicesByLabel.get(place) ?? []) {
        if (selects(this.#selectors.get(key)?.labels ?? {}, workload.labels)) touched.add(key);
      }
    }
  }
}

/** The place of a selector: its first label, or its whole namespace where it has none. */
function anchor(namespace: string, labels: Readonly<Record<string, string>>): string {
  const [first] = Object.entries(labels).sort(([left], [right]) => (left < right ? -1 : 1));
  return first === undefined ? namespace : `${namespace} ${first[0]}=${first[1]}`;
}

/** Every place under which a selector may look for a workload. */
function anchorsOf({ namespace, labels }: Selectable): string[] {
  return [namespace, ...Object.entries(labels).map(([name, value]) => `${namespace} ${name}=${value}`)];
}

function add<T>(table: Map<string, Set<T>>, key: string, value: T): void {
  const values = table.get(key);
  if (values === undefined) table.set(key, new Set([value]));
  else values.add(value);
}
