import { createHash } from "node:crypto";
import { isIPv6 } from "node:net";
import { isWithin } from "../../model/address.ts";
import type { KeyValueStore } from "../../store/key-value.ts";
import type { ServiceKey } from "../../model/service.ts";

const PREFIX = "vip/";
/** Allocations in one transaction; a store takes 128 operations. */
const BATCH = 64;
/** How often one offset is tried while other replicas write to it. */
const ATTEMPTS = 8;
/** How long an address of a service that is gone is not given to another. */
const QUARANTINE_MS = 24 * 3_600_000;

interface Allocation {
  readonly service: ServiceKey;
  /** The offset into both ranges. */
  readonly offset: number;
  /** Since when the service is gone; absent while it is there. */
  readonly releasedAt?: number;
}

export interface VipAllocatorOptions {
  readonly store: KeyValueStore;
  /** IPv4 and IPv6 range in CIDR form, the IPv4 one of at least 8 host bits. */
  readonly ranges: readonly [ipv4: string, ipv6: string];
  readonly now: () => number;
}

/**
 * Gives every service one virtual address per family, once and for ever: by
 * compare-and-set in the store, so that replicas agree and a restart changes
 * nothing. Both families share one offset. An address whose service is gone
 * rests for a day, since clients cache.
 */
export class VipAllocator {
  readonly #options: VipAllocatorOptions;
  readonly #byService = new Map<ServiceKey, Allocation>();
  readonly #taken = new Map<number, ServiceKey>();

  private constructor(options: VipAllocatorOptions) {
    this.#options = options;
  }

  /** Reads what was allocated before. */
  static async load(options: VipAllocatorOptions): Promise<VipAllocator> {
    const allocator = new VipAllocator(options);
    const { items } = await options.store.list(PREFIX);
    for (const { value } of items) allocator.#remember(JSON.parse(value) as Allocation);
    return allocator;
  }

  /** The addresses of a service that has some already, IPv4 first. */
  get(service: ServiceKey): readonly string[] {
    const allocation = this.#byService.get(service);
    return allocation === undefined ? [] : this.#addresses(allocation.offset);
  }

  /** The same, without those that rest since it was released. */
  held(service: ServiceKey): readonly string[] {
    return this.#byService.get(service)?.releasedAt === undefined ? this.get(service) : [];
  }

  /** True for an address of its ranges, whoever has it. */
  covers(address: string): boolean {
    return isWithin(address, this.#options.ranges);
  }

  /** Services that have addresses which do not rest. */
  allocated(): readonly ServiceKey[] {
    return [...this.#byService.values()].filter(({ releasedAt }) => releasedAt === undefined).map(({ service }) => service);
  }

  /** Allocates for those that have none, many in one transaction where nobody else is about. */
  async allocate(services: readonly ServiceKey[]): Promise<void> {
    const wanting = services.filter((service) => this.#byService.get(service)?.releasedAt !== undefined || !this.#byService.has(service));
    const fresh = wanting.filter((service) => !this.#byService.has(service));
    await this.#takeUnused(fresh);
    for (const service of wanting) {
      const known = this.#byService.get(service);
      if (known === undefined || known.releasedAt !== undefined) await this.#take(service, known);
    }
  }

  /** Notes that services are gone; their addresses stay their own for as long as they rest. */
  async release(...services: readonly ServiceKey[]): Promise<void> {
    await allDone(services.map((service) => this.#release(service)));
  }

  async #release(service: ServiceKey): Promise<void> {
    const known = this.#byService.get(service);
    if (known === undefined || known.releasedAt !== undefined) return;
    await this.#write({ ...known, releasedAt: this.#options.now() });
  }

  /**
   * A few transactions for offsets that nobody ever had, which the store takes
   * together; what is in one that fails is settled by `#take`, each alone.
   */
  async #takeUnused(services: readonly ServiceKey[]): Promise<void> {
    const chosen = new Map<number, Allocation>();
    for (const service of services) {
      const offset = this.#candidates(service).find((candidate) => !this.#taken.has(candidate) && !chosen.has(candidate));
      if (offset !== undefined) chosen.set(offset, { service, offset });
    }
    const allocations = [...chosen.values()];
    const batches = Array.from({ length: Math.ceil(allocations.length / BATCH) }, (_, at) => allocations.slice(at * BATCH, (at + 1) * BATCH));
    await allDone(batches.map((batch) => this.#takeBatch(batch)));
  }

  async #takeBatch(allocations: readonly Allocation[]): Promise<void> {
    const { committed } = await this.#options.store.txn(
      allocations.map((allocation) => ({ key: keyOf(allocation), revision: 0 })),
      allocations.map((allocation) => ({ type: "put", key: keyOf(allocation), value: JSON.stringify(allocation) })),
    );
    if (committed) for (const allocation of allocations) this.#remember(allocation);
    // Another replica may have given them to the same services, also to those for which this one has another offset by now.
    else for (const allocation of allocations) await this.#read(keyOf(allocation));
  }

  async #read(key: string): Promise<void> {
    const current = await this.#options.store.get(key);
    if (current !== undefined) this.#remember(JSON.parse(current.value) as Allocation);
  }

  /**
   * All offsets, from one that depends on the name: replicas that allocate at
   * once seldom collide.
   */
  *#candidates(service: ServiceKey): Generator<number> {
    const size = hostCount(this.#options.ranges[0]);
    const start = startOf(service);
    for (let step = 0; step < size; step += 1) yield 1 + ((start + step) % size);
  }

  /** Where an offset stands among the candidates of a service. */
  #rankOf({ service, offset }: Allocation): number {
    const size = hostCount(this.#options.ranges[0]);
    return (offset - 1 - (startOf(service) % size) + size) % size;
  }

  async #take(service: ServiceKey, known: Allocation | undefined): Promise<boolean> {
    if (known !== undefined) return this.#write({ service, offset: known.offset });
    for (const offset of this.#candidates(service)) {
      if (this.#isFree(offset) && (await this.#write({ service, offset }))) return true;
    }
    return false;
  }

  #isFree(offset: number): boolean {
    const holder = this.#taken.get(offset);
    if (holder === undefined) return true;
    const releasedAt = this.#byService.get(holder)?.releasedAt;
    return releasedAt !== undefined && this.#options.now() - releasedAt > QUARANTINE_MS;
  }

  /** One key per offset: two services cannot both hold it. False where another service was first. */
  async #write(allocation: Allocation): Promise<boolean> {
    const { store } = this.#options;
    const key = keyOf(allocation);
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const current = await store.get(key);
      const holder = current === undefined ? undefined : (JSON.parse(current.value) as Allocation);
      const isOurs = holder?.service === allocation.service;
      if (holder !== undefined && (isOurs ? holder.releasedAt === allocation.releasedAt : this.#rests(holder))) {
        this.#remember(holder);
        return isOurs;
      }
      const { committed } = await store.txn(
        [{ key, revision: current?.revision ?? 0 }],
        [{ type: "put", key, value: JSON.stringify(allocation) }],
      );
      if (committed) {
        this.#remember(allocation);
        return true;
      }
      // Another replica was first: it may have written the same.
    }
    return false;
  }

  #rests({ releasedAt }: Allocation): boolean {
    return releasedAt === undefined || this.#options.now() - releasedAt <= QUARANTINE_MS;
  }

  /** Replicas that allocate in different orders may give one service two offsets: its first candidate counts, for all of them. */
  #remember(allocation: Allocation): void {
    const { service, offset } = allocation;
    const holder = this.#taken.get(offset);
    if (holder !== undefined && holder !== service && this.#byService.get(holder)?.offset === offset) this.#byService.delete(holder);
    this.#taken.set(offset, service);
    const known = this.#byService.get(service);
    if (known === undefined || this.#rankOf(allocation) <= this.#rankOf(known)) this.#byService.set(service, allocation);
  }

  #addresses(offset: number): string[] {
    return this.#options.ranges.map((range) => addressAt(range, offset));
  }
}

function startOf(service: ServiceKey): number {
  return createHash("sha256").update(service).digest().readUInt32BE(0);
}

function keyOf({ offset }: Allocation): string {
  return `${PREFIX}${offset}`;
}

/** Waits for all of them, also where one fails: what comes after knows what is written. */
async function allDone(works: readonly Promise<void>[]): Promise<void> {
  const outcomes = await Promise.allSettled(works);
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}

function hostCount(range: string): number {
  const [, bits = "16"] = range.split("/");
  return 2 ** Math.min(31, 32 - Number(bits)) - 2;
}

/** The address at an offset from the beginning of a range. */
export function addressAt(range: string, offset: number): string {
  const [base = ""] = range.split("/");
  if (isIPv6(base)) {
    const high = Math.floor(offset / 0x1_0000);
    const low = (offset % 0x1_0000).toString(16);
    const prefix = base.replace(/::$/, "");
    return high === 0 ? `${prefix}::${low}` : `${prefix}::${high.toString(16)}:${low}`;
  }
  const octets = base.split(".").map(Number);
  let number = octets.reduce((sum, octet) => sum * 256 + octet, 0) + offset;
  const parts: number[] = [];
  for (let index = 0; index < 4; index += 1) {
    parts.unshift(number % 256);
    number = Math.floor(number / 256);
  }
  return parts.join(".");
}
