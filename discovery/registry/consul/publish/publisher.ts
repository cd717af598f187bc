import { backoffDelay } from "../../../../base/backoff.ts";
import type { BackoffPolicy } from "../../../../base/backoff.ts";
import type { Clock } from "../../../../base/clock.ts";
import { CodedError, messageOf } from "../../../../base/coded-error.ts";
import type { Collection } from "../../../../base/collection.ts";
import type { Logger } from "../../../../base/logger.ts";
import { pause } from "../../../../base/pause.ts";
import type { Closable } from "../../../../base/task-group.ts";
import type { Endpoint } from "../../../../model/endpoint.ts";
import type { Service } from "../../../../model/service.ts";
import type { Workload, WorkloadKey } from "../../../../model/workload.ts";
import type { RegistryFailure } from "../../registry.ts";
import type { ConsulEndpoint } from "../client.ts";
import { TokenBucket } from "../token-bucket.ts";
import { followTokenFile } from "../token-file.ts";
import { createPublishClient } from "./client.ts";
import type { OwnNodes } from "./own-nodes.ts";
import { Reconciler } from "./reconciler.ts";
import type { SelectionSettings } from "./selection.ts";

/** How writes are paced. Milliseconds. */
export interface PublishPacing {
  /** Changes of the catalog within this time are one. */
  readonly gatherMs: number;
  /** How often Consul is asked what it holds, where nothing else is a reason to. */
  readonly intervalMs: number;
  /** After two at once, a transaction comes no sooner than this after another. */
  readonly writeIntervalMs: number;
  /** From the start on, how long nothing is removed: hosts have that time to return. */
  readonly holdMs: number;
  readonly backoff: BackoffPolicy;
}

export const PUBLISH_DEFAULTS = {
  node: "ironmesh",
  name: "{name}",
  pacing: {
    gatherMs: 500,
    // Consul's own agents look after their entries once a minute.
    intervalMs: 30_000,
    // Of up to 32 instances each.
    writeIntervalMs: 200,
    backoff: { baseMs: 500, maxMs: 30_000 },
  },
} as const;

export interface PublisherOptions extends Omit<ConsulEndpoint, "maxConnections">, SelectionSettings {
  /** Whose entries they are, over restarts and replicas. */
  readonly owner: string;
  readonly node: string;
  readonly ownNodes: OwnNodes;
  /** Consul names that others may have too: instances are added to theirs. */
  readonly sharedNames?: readonly string[];
  readonly datacenter?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly services: Collection<Service>;
  readonly endpoints: Collection<readonly Endpoint[]>;
  readonly workloads: Collection<Workload>;
  /** True where an instance is known to refuse callers that are not in the mesh. */
  readonly refusesPlain?: (workload: WorkloadKey, address: string, port: number) => boolean;
  readonly pacing: Partial<PublishPacing> & Pick<PublishPacing, "holdMs">;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Keeps a part of the catalog in Consul, for those who are not in the mesh. */
export interface Publisher extends Closable {
  /** Begins; what goes wrong shows in `status`, never as a rejection. */
  start(): void;
  /** What is published stays. */
  close(): Promise<void>;
  status(): PublicationStatus;
}

/** What Consul holds of ours, as far as is known. */
export interface PublicationStatus {
  readonly services: number;
  readonly instances: number;
  /** How many instances differ from what they should be. */
  readonly pending: number;
  /** The last failure, while it lasts. */
  readonly lastError?: RegistryFailure;
  /** What a person should know. Sorted. */
  readonly notes: readonly string[];
}

/**
 * Level-triggered: what Consul holds is compared with the catalog and the
 * difference written. At a change of the catalog by what is known; regularly,
 * and after every failure, by what is read anew. So it does not matter what was
 * lost, or by whom.
 */
export function createPublisher(options: PublisherOptions): Publisher {
  const { services, endpoints, workloads, clock, logger, datacenter } = options;
  const pacing: PublishPacing = { ...PUBLISH_DEFAULTS.pacing, ...options.pacing };
  const client = createPublishClient({ ...options, maxConnections: 2 });
  const token = options.tokenFile === undefined ? undefined : followTokenFile(options.tokenFile);
  const closing = new AbortController();
  const unsubscribes: (() => void)[] = [];
  /** Until hosts have had their time to return, what is missing from the catalog may only be late. */
  let isHeld = true;
  let cancelHold = (): void => {};
  /** Undefined: what Consul holds is to be read before anything else. */
  let readAt: number | undefined;
  let isDirty = true;
  let wake = (): void => {};
  let failure: RegistryFailure | undefined;
  let running: Promise<void> | undefined;
  const reconciler = new Reconciler({
    ...options,
    client,
    settings: options,
    sharedNames: (options.sharedNames ?? []).map((name) => name.toLowerCase()),
    catalog: () => ({
      services: services.entries(),
      endpointsOf: (key) => endpoints.get(key) ?? [],
      healthDetailOf: (key) => workloads.get(key)?.healthDetail,
    }),
    mayRemove: () => !isHeld,
    isSuperseded: () => isDirty,
    bucket: new TokenBucket(clock, 2, pacing.writeIntervalMs),
  });

  function touch(): void {
    isDirty = true;
    wake();
  }

  function untilReadingMs(): number {
    return readAt === undefined ? 0 : readAt + pacing.intervalMs - clock.elapsed();
  }

  async function round(): Promise<void> {
    const query = { datacenter, token: await token?.(), signal: closing.signal };
    isDirty = false;
    if (untilReadingMs() <= 0) {
      await reconciler.read(query);
      readAt = clock.elapsed();
    }
    await reconciler.write(query);
    if (reconciler.refusal !== undefined) fail(reconciler.refusal);
    else if (failure !== undefined) {
      failure = undefined;
      logger.info({ node: options.node }, "publishing in consul works again");
    }
  }

  function fail(thrown: unknown): void {
    // A bug here must not take the mesh with it: it shows in the status.
    const error = thrown instanceof CodedError ? thrown : new CodedError("MESH_REGISTRY_BROKEN", `publishing has a bug: ${messageOf(thrown)}`, { cause: thrown });
    const { code, message, hint } = error;
    if (failure?.message !== message) logger.warn({ err: error }, "publishing in consul fails");
    failure = { code, message, ...(hint === undefined ? {} : { hint }), since: failure?.since ?? clock.now() };
  }

  async function run(): Promise<void> {
    let attempt = 0;
    while (!closing.signal.aborted) {
      try {
        await round();
        attempt = 0;
      } catch (thrown) {
        if (closing.signal.aborted) return;
        readAt = undefined;
        fail(thrown);
        await pause(clock, backoffDelay(pacing.backoff, attempt), closing.signal);
        attempt += 1;
        continue;
      }
      await idle();
    }
  }

  /** Until there is something to do: a change, the end of the hold, the time to look. */
  async function idle(): Promise<void> {
    const waking = new AbortController();
    wake = () => waking.abort();
    if (!isDirty) await pause(clock, Math.max(0, untilReadingMs()), AbortSignal.any([waking.signal, closing.signal]));
    if (isDirty) await pause(clock, pacing.gatherMs, closing.signal);
  }

  /** Who finds such a service in Consul and is not in the mesh is refused. */
  function strictNotes(): string[] {
    const { refusesPlain } = options;
    const strict = reconciler.wanted.filter(({ id, workload, record: { address, port } }) => reconciler.there.has(id) && refusesPlain?.(workload, address, port) === true);
    return strict.map(({ origin, record: { service, port } }) => `${origin} is published as ${service}, but its port ${port} is STRICT: it refuses who is not in the mesh`);
  }

  return {
    start() {
      if (running !== undefined) return;
      cancelHold = clock.after(pacing.holdMs, () => {
        isHeld = false;
        touch();
      });
      unsubscribes.push(services.subscribe(touch), endpoints.subscribe(touch), workloads.subscribe(touch));
      running = run();
    },
    status() {
      const records = [...reconciler.there.values()];
      return {
        services: new Set(records.map(({ service }) => service)).size,
        instances: records.length,
        pending: reconciler.pending,
        ...(failure === undefined ? {} : { lastError: failure }),
        notes: [...new Set([...reconciler.notes, ...strictNotes()])].sort(),
      };
    },
    async close() {
      closing.abort();
      cancelHold();
      for (const unsubscribe of unsubscribes) unsubscribe();
      await running;
      client.close();
    },
  };
}
