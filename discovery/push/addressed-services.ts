import type { Change, ChangeListener, Collection } from "../../base/collection.ts";
import type { Service, ServiceKey } from "../../model/service.ts";

/** What the push takes for the services that there are. */
export interface AddressedServices extends Pick<Collection<Service>, "get" | "entries"> {
  close(): void;
}

/**
 * The services without those that are new and still wait for their virtual
 * address: these are not there yet, for whoever refers to them either, and so
 * are translated once instead of twice. One that was there stays.
 *
 * @param onChange told of changes of the services that are there
 */
export function followAddressedServices(
  services: Collection<Service>,
  awaitingAddress: Collection<true>,
  onChange: ChangeListener<Service>,
): AddressedServices {
  const taken = new Map<ServiceKey, Service>();
  const take = (changes: readonly Change<Service>[]): void => {
    const seen = changes.filter(({ key, after }) => taken.has(key) || (after !== undefined && awaitingAddress.get(key) === undefined));
    if (seen.length === 0) return;
    onChange(
      seen.map(({ key, after }) => {
        const before = taken.get(key);
        if (after === undefined) taken.delete(key);
        else taken.set(key, after);
        return { key, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) };
      }),
    );
  };
  for (const [key, service] of services.entries()) if (awaitingAddress.get(key) === undefined) taken.set(key, service);
  const stops = [
    services.subscribe(take),
    awaitingAddress.subscribe((changes) =>
      take(
        changes.flatMap(({ key, after: isAwaiting }) => {
          const after = services.get(key);
          return isAwaiting === true || after === undefined || taken.has(key) ? [] : [{ key, after }];
        }),
      ),
    ),
  ];
  return {
    get: (key) => taken.get(key),
    entries: () => taken,
    close() {
      for (const stop of stops) stop();
    },
  };
}
