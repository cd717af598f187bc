import type { Clock } from "../../base/clock.ts";
import { type Collection, SourceCollection } from "../../base/collection.ts";
import type { ServiceKey } from "../../model/service.ts";

/** How long a service is held back for the sake of its virtual address; a store gives ten thousand in a fraction of it. */
export const ADDRESS_PATIENCE_MS = 5_000;

/** Which services are about to get their first virtual address, so that nobody need work on them twice. */
export interface AwaitedAddresses {
  readonly services: Collection<true>;
  /** Adds services; each is taken out by the returned function, and in any case when patience ends. */
  expect(services: readonly ServiceKey[]): () => void;
}

export function createAwaitedAddresses(clock: Clock): AwaitedAddresses {
  const services = new SourceCollection<true>();
  return {
    services,
    expect(keys) {
      if (keys.length === 0) return () => {};
      const end = (): void => services.apply(keys.map((key) => [key, undefined]));
      services.apply(keys.map((key) => [key, true]));
      const cancel = clock.after(ADDRESS_PATIENCE_MS, end);
      return () => {
        cancel();
        end();
      };
    },
  };
}
