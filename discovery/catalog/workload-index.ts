import type { Change } from "../../base/collection.ts";
import { selects } from "../../model/workload.ts";

/** What selectors look at, a workload or a group of workloads to come; and what they look for: a namespace, and at least these labels. */
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
  readonly #selectors = new Map<string, Selectable>();
  readonly #idsByLabel = new Map<string, Set<string>>();

  /** Sets the selector of an id, or takes it away. */
  setSelector(id: string, selector: Selectable | undefined): void {
    const before = this.#selectors.get(id);
    if (before !== undefined) remove(this.#idsByLabel, anchor(before), id);
    this.#selectors.delete(id);
    if (selector === undefined) return;
    this.#selectors.set(id, selector);
    add(this.#idsByLabel, anchor(selector), id);
  }

  /** What the selector of an id selects. */
  selected(id: string): T[] {
    const selector = this.#selectors.get(id);
    if (selector === undefined) return [];
    const candidates = this.#workloads.get(anchor(selector));
    return [...(candidates?.values() ?? [])].filter((workload) => selects(selector.labels, workload.labels));
  }

  /** Takes changes and gives the ids whose selectors select, or selected, what changed. */
  apply(changes: readonly Change<T>[]): Set<string> {
    const touched = new Set<string>();
    for (const { key, before, after } of changes) {
      if (before !== undefined) this.#move(before, touched, (anchored) => anchored.delete(key));
      if (after !== undefined) this.#move(after, touched, (anchored) => anchored.set(key, after));
    }
    return touched;
  }

  #move(workload: T, touched: Set<string>, change: (anchored: Map<string, T>) => void): void {
    for (const place of anchorsOf(workload)) {
      const anchored = this.#workloads.get(place) ?? new Map<string, T>();
      change(anchored);
      if (anchored.size === 0) this.#workloads.delete(place);
      else this.#workloads.set(place, anchored);
      for (const id of this.#idsByLabel.get(place) ?? []) {
        if (selects(this.#selectors.get(id)?.labels ?? {}, workload.labels)) touched.add(id);
      }
    }
  }
}

/** The place of a selector: its first label, or its whole namespace where it has none. */
function anchor({ namespace, labels }: Selectable): string {
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

function remove<T>(table: Map<string, Set<T>>, key: string, value: T): void {
  const values = table.get(key);
  values?.delete(value);
  if (values?.size === 0) table.delete(key);
}
