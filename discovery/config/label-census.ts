import type { Change } from "../../base/collection.ts";
import { selects, type Workload } from "../../model/workload.ts";

type Labelled = Pick<Workload, "namespace" | "labels">;

/** Workloads that no selector tells apart. */
interface Kind extends Labelled {
  count: number;
}

/**
 * Which namespaces and labels workloads have: all that a selector can see of
 * them. It answers from what one label points at, and says when an answer may
 * be another one: that a workload fails, or one more of its kind comes, is nothing to it.
 */
export class LabelCensus {
  readonly #kinds = new Map<string, Kind>();
  readonly #byLabel = new Map<string, Set<Kind>>();

  /** @returns true where the first workload of a kind came, or the last one went */
  apply(changes: readonly Change<Labelled>[]): boolean {
    let hasChanged = false;
    for (const { before, after } of changes) {
      if (before !== undefined && after !== undefined && kindOf(before) === kindOf(after)) continue;
      if (before !== undefined && this.#remove(before)) hasChanged = true;
      if (after !== undefined && this.#add(after)) hasChanged = true;
    }
    return hasChanged;
  }

  /** True where a workload of such a namespace has all of these labels, of which there is at least one. */
  has(labels: Readonly<Record<string, string>>, isMeant: (namespace: string) => boolean): boolean {
    const candidates = Object.entries(labels).map(([name, value]) => this.#byLabel.get(labelOf(name, value)) ?? new Set<Kind>());
    const [fewest] = candidates.sort((left, right) => left.size - right.size);
    return [...(fewest ?? [])].some((kind) => isMeant(kind.namespace) && selects(labels, kind.labels));
  }

  #add({ namespace, labels }: Labelled): boolean {
    const key = kindOf({ namespace, labels });
    const known = this.#kinds.get(key);
    if (known !== undefined) {
      known.count += 1;
      return false;
    }
    const kind: Kind = { namespace, labels, count: 1 };
    this.#kinds.set(key, kind);
    for (const [name, value] of Object.entries(labels)) {
      const label = labelOf(name, value);
      const kinds = this.#byLabel.get(label);
      if (kinds === undefined) this.#byLabel.set(label, new Set([kind]));
      else kinds.add(kind);
    }
    return true;
  }

  #remove(workload: Labelled): boolean {
    const key = kindOf(workload);
    const known = this.#kinds.get(key);
    if (known === undefined) return false;
    known.count -= 1;
    if (known.count > 0) return false;
    this.#kinds.delete(key);
    for (const [name, value] of Object.entries(known.labels)) {
      const label = labelOf(name, value);
      const kinds = this.#byLabel.get(label);
      kinds?.delete(known);
      if (kinds?.size === 0) this.#byLabel.delete(label);
    }
    return true;
  }
}

function kindOf({ namespace, labels }: Labelled): string {
  return JSON.stringify([namespace, ...Object.entries(labels).sort(([left], [right]) => (left < right ? -1 : 1))]);
}

function labelOf(name: string, value: string): string {
  return `${name}=${value}`;
}
