import { isDeepStrictEqual } from "node:util";
import { backoffDelay } from "../../base/backoff.ts";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/coded-error.ts";
import type { Logger } from "../../base/logger.ts";
import type { Closable } from "../../base/task-group.ts";
import { type HostCaller, type HostGrant, hostsPrefix, readGrantItem } from "../../ca/grant.ts";
import type { GrantCheck } from "../../discovery/registry/agents/report.ts";
import { familyOf, isWithin } from "../../model/address.ts";
import type { KeyValueItem, KeyValueStore, Watch } from "../../store/key-value.ts";

const RETRY = { baseMs: 200, maxMs: 10_000 };

/** The grants of all hosts, followed, so that reports are judged without a look at the store. */
export interface Grants extends GrantCheck, Closable {
  /** Told of each host whose grant changed; true for one that may be nothing any more. */
  subscribe(listener: (hostId: string, isRevoked: boolean) => void): void;
  /** True of a caller who plainly is the host that he says: enrolled, not revoked, and under its one key. Of any other, and while grants are not followed, the store must be asked. */
  knows(caller: HostCaller): boolean;
  /** What keeps grants and revocations from having their effect now, in words. */
  openTasks(): readonly string[];
}

export interface GrantsOptions {
  readonly store: KeyValueStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Follows the grants until closed: where the store fails, it is tried again. A
 * damaged record changes nothing, is said, and does not stop the others.
 *
 * @throws CodedError of the store where it cannot be read at the start
 */
export async function followGrants({ store, clock, logger }: GrantsOptions): Promise<Grants> {
  const grants = new Map<string, HostGrant>();
  const listeners: ((hostId: string, isRevoked: boolean) => void)[] = [];
  const closing = new AbortController();
  let failure: unknown;
  let watch: Watch | undefined;
  let endPause: (() => void) | undefined;

  const hear = (hostId: string, item: KeyValueItem | undefined): void => {
    let grant: HostGrant | undefined;
    try {
      grant = item === undefined ? undefined : readGrantItem(item).record;
    } catch (err) {
      logger.error({ err, hostId }, "the grant of a host cannot be read: it is as it was before");
      return;
    }
    if (isDeepStrictEqual(grants.get(hostId), grant)) return;
    if (grant === undefined) grants.delete(hostId);
    else grants.set(hostId, grant);
    for (const listener of listeners) listener(hostId, grant === undefined || grant.revoked !== undefined);
  };
  const list = async (): Promise<number> => {
    const { items, revision } = await store.list(hostsPrefix);
    const byHost = new Map(items.map((item) => [hostOf(item.key), item]));
    for (const hostId of grants.keys()) if (!byHost.has(hostId)) hear(hostId, undefined);
    for (const [hostId, item] of byHost) hear(hostId, item);
    failure = undefined;
    return revision;
  };
  const follow = async (from: number): Promise<void> => {
    watch = store.watch(hostsPrefix, from);
    for await (const event of watch) {
      if (event.type === "resync") return;
      for (const { key, value } of event.changes) hear(hostOf(key), value === undefined ? undefined : { key, value, revision: event.revision });
    }
    if (!closing.signal.aborted) throw new Error("the store ended the watch of grants");
  };
  const pause = (attempt: number): Promise<void> =>
    new Promise((resolve) => {
      const cancel = clock.after(backoffDelay(RETRY, attempt), resolve);
      endPause = () => {
        cancel();
        resolve();
      };
    });
  const run = async (start: number): Promise<void> => {
    let revision: number | undefined = start;
    for (let attempt = 0; !closing.signal.aborted; revision = undefined) {
      try {
        revision ??= await list();
        attempt = 0;
        await follow(revision);
      } catch (err) {
        if (closing.signal.aborted) return;
        failure = err;
        logger.error({ err }, "the grants of hosts cannot be followed: revocations have no effect on traffic until they can");
        await pause(attempt++);
      }
    }
  };
  const running = run(await list());

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
    knows({ hostId, spkiSha256 }) {
      const grant = held(hostId);
      return failure === undefined && grant?.spkiSha256 === spkiSha256 && grant.previousSpkiSha256 === undefined;
    },
    openTasks: () => (failure === undefined ? [] : [`the grants of hosts are not followed: ${messageOf(failure)}`]),
    async close() {
      closing.abort();
      watch?.close();
      endPause?.();
      await running;
    },
  };
}

function hostOf(key: string): string {
  return key.slice(hostsPrefix.length);
}
