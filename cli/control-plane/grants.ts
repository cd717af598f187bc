import type { Closable } from "../../base/task-group.ts";
import { type HostGrant, hostsPrefix, listGrants } from "../../ca/grant.ts";
import type { GrantCheck } from "../../discovery/registry/agents/report.ts";
import { familyOf, isWithin } from "../../model/address.ts";
import type { KeyValueStore, Watch } from "../../store/key-value.ts";

/** The grants of all hosts, followed, so that reports are judged without a look at the store. */
export interface Grants extends GrantCheck, Closable {
  subscribe(listener: (hostId: string, isRevoked: boolean) => void): void;
}

export async function followGrants(store: KeyValueStore, onFailure: (failure: unknown) => void): Promise<Grants> {
  const grants = new Map<string, HostGrant>();
  const listeners: ((hostId: string, isRevoked: boolean) => void)[] = [];
  let watch: Watch | undefined;
  let isClosed = false;

  const refresh = async (): Promise<number> => {
    const { revision } = await store.list(hostsPrefix);
    for (const grant of await listGrants(store)) {
      const before = grants.get(grant.hostId);
      grants.set(grant.hostId, grant);
      if (JSON.stringify(before) === JSON.stringify(grant)) continue;
      for (const listener of listeners) listener(grant.hostId, grant.revoked !== undefined);
    }
    return revision;
  };
  const follow = async (from: number): Promise<void> => {
    for (let revision = from; !isClosed; revision = await refresh()) {
      watch = store.watch(hostsPrefix, revision);
      for await (const event of watch) {
        if (event.type === "resync") break;
        await refresh();
      }
    }
  };
  const following = follow(await refresh()).catch((failure: unknown) => {
    if (!isClosed) onFailure(failure);
  });

  const held = (hostId: string): HostGrant | undefined => {
    const grant = grants.get(hostId);
    return grant?.revoked === undefined ? grant : undefined;
  };
  return {
    allowsGroup: (hostId, group) => held(hostId)?.groups.includes(group) === true,
    allowsAddress(hostId, address) {
      const grant = held(hostId);
      if (grant === undefined || familyOf(address) === undefined) return false;
      return grant.addressRanges.length === 0 || isWithin(address, grant.addressRanges);
    },
    subscribe: (listener) => void listeners.push(listener),
    async close() {
      isClosed = true;
      watch?.close();
      await following;
    },
  };
}
