import type { Clock } from "../../base/clock.ts";
import type { Closable } from "../../base/task-group.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { ServiceKey } from "../../model/service.ts";
import type { WorkloadKey } from "../../model/workload.ts";

/** Longer than a host takes to fetch and show a certificate of another name, also one that was away for a moment. */
export const LEAVING_MS = 120_000;

/**
 * Identities that a service's endpoints had until now. Callers take them for a
 * while beside the new ones: when a WorkloadGroup gets another service account,
 * its hosts still show the old certificate until they have fetched the new one.
 */
export class LeavingIdentities implements Closable {
  readonly #clock: Clock;
  readonly #onLeft: (key: ServiceKey) => void;
  readonly #byService = new Map<ServiceKey, Map<string, () => void>>();

  /** @param onLeft told when a service's callers take one no more */
  constructor(clock: Clock, onLeft: (key: ServiceKey) => void) {
    this.#clock = clock;
    this.#onLeft = onLeft;
  }

  /** Takes a change of a service's endpoints. What a workload that is gone carried is left at once: its host may have been revoked. */
  change(key: ServiceKey, before: readonly Endpoint[], after: readonly Endpoint[]): void {
    const are = identitiesByWorkload(after);
    const carried = new Set(are.values());
    const leaving = this.#byService.get(key) ?? new Map<string, () => void>();
    const end = (identity: string): void => {
      leaving.get(identity)?.();
      leaving.delete(identity);
    };
    if (carried.size === 0) for (const identity of leaving.keys()) end(identity);
    for (const identity of carried) end(identity);
    for (const [workload, identity] of identitiesByWorkload(before)) {
      if (!are.has(workload) || carried.has(identity)) continue;
      end(identity);
      leaving.set(identity, this.#clock.after(LEAVING_MS, () => {
        leaving.delete(identity);
        if (leaving.size === 0) this.#byService.delete(key);
        this.#onLeft(key);
      }));
    }
    if (leaving.size === 0) this.#byService.delete(key);
    else this.#byService.set(key, leaving);
  }

  of(key: ServiceKey): readonly string[] {
    return [...(this.#byService.get(key)?.keys() ?? [])];
  }

  close(): void {
    for (const leaving of this.#byService.values()) for (const cancel of leaving.values()) cancel();
    this.#byService.clear();
  }
}

function identitiesByWorkload(endpoints: readonly Endpoint[]): Map<WorkloadKey, string> {
  return new Map(endpoints.flatMap(({ workload, identity }) => (identity === undefined ? [] : [[workload, identity] as const])));
}
