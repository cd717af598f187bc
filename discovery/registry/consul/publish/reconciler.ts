import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../../../../base/clock.ts";
import { CodedError } from "../../../../base/coded-error.ts";
import type { Logger } from "../../../../base/logger.ts";
import { pause } from "../../../../base/pause.ts";
import type { TokenBucket } from "../token-bucket.ts";
import { batchesOf, refusalOf, type Write } from "./batches.ts";
import type { PublishClient, PublishedNode, PublishQuery } from "./client.ts";
import { type InstanceRecord, type PublishedInstance, SERVICE_META } from "./instance.ts";
import { deleteInstance, deleteNode, setInstance, setNode } from "./operations.ts";
import type { OwnNodes } from "./own-nodes.ts";
import { type Plan, planWrites } from "./plan.ts";
import { type CatalogView, createSelection, type SelectionSettings } from "./selection.ts";

export interface ReconcilerOptions {
  readonly client: PublishClient;
  /** Whose entries they are: what Consul has under another owner is never touched. */
  readonly owner: string;
  /** The node of Consul's catalog that they are on; ours alone. */
  readonly node: string;
  /** Which nodes of that owner are this control plane's. */
  readonly ownNodes: OwnNodes;
  readonly settings: SelectionSettings;
  /** Names that others may have too, in lower case: instances are added to theirs. */
  readonly sharedNames: readonly string[];
  /** As it is at the moment of asking. */
  readonly catalog: () => CatalogView;
  /** Whether what is missing from the catalog is known to be gone. */
  readonly mayRemove: () => boolean;
  /** True when the catalog has changed since the round began. */
  readonly isSuperseded: () => boolean;
  /** Spaces the transactions. */
  readonly bucket: TokenBucket;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A node that was ours before. */
interface FormerNode {
  readonly name: string;
  readonly isOursAlone: boolean;
  /** Ours is gone from it. */
  readonly isCleared: boolean;
}

/** What the token may not read counts as somebody else's. */
function isOursAlone({ strangers, isFiltered }: PublishedNode): boolean {
  return strangers.size === 0 && !isFiltered;
}

/** Makes Consul hold what the catalog says, a round at a time. */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #selectPublished: ReturnType<typeof createSelection>;
  /** What Consul holds of ours; kept up by our own writes until it is read again. */
  #there = new Map<string, InstanceRecord>();
  #hasNode = false;
  /** Nobody else's instances would go with the node. */
  #isNodeOursAlone = false;
  /** Other nodes of the same owner, from before the node's name was changed. */
  #former: readonly FormerNode[] = [];
  /** Nodes of the same owner that this control plane did not make. */
  #unknown: readonly string[] = [];
  /** Other people's claim on each name that we want, since the last reading; undefined: none. */
  readonly #claims = new Map<string, string | undefined>();
  /** Services that Consul refused since the last reading. */
  readonly #refused = new Map<string, CodedError>();
  #wanted: readonly PublishedInstance[] = [];
  #plan: Plan = { set: [], remove: [], held: 0, notes: [] };
  #selectionNotes: readonly string[] = [];
  #isFiltered = false;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#selectPublished = createSelection(options.settings);
  }

  /** What Consul holds, as far as is known: by id. */
  get there(): ReadonlyMap<string, InstanceRecord> {
    return this.#there;
  }

  get wanted(): readonly PublishedInstance[] {
    return this.#wanted;
  }

  get pending(): number {
    return this.#plan.set.length + this.#plan.remove.length;
  }

  /** The first thing that Consul refused, while the rest was written. */
  get refusal(): CodedError | undefined {
    return this.#refused.values().next().value;
  }

  get notes(): readonly string[] {
    const { node, owner, ownNodes } = this.#options;
    return [
      ...this.#selectionNotes,
      ...this.#plan.notes,
      ...[...this.#refused.values()].map(({ message, hint }) => (hint === undefined ? message : `${message}: ${hint}`)),
      ...(this.#isFiltered ? [`the token may not read all of the node ${node}: what was published before may stay there`] : []),
      ...this.#former.filter((one) => !one.isOursAlone).map(({ name }) => `the node ${name} of before stays in consul: somebody else may have instances on it`),
      ...this.#unknown.map((name) => `the node ${name} in consul is of our owner ${owner}, and not of this control plane: give one of the two another registry name, or deregister the node, where it is a leftover`),
      ...(ownNodes.problem === undefined ? [] : [ownNodes.problem]),
      ...(this.#plan.held === 0 ? [] : [`${this.#plan.held} published instances would be removed, and stay until hosts have had their time to return`]),
    ];
  }

  /** Reads what Consul holds, and who else has names that we want. */
  async read(query: PublishQuery): Promise<void> {
    const { client, node, owner, ownNodes, sharedNames } = this.#options;
    const content = await client.node(node, query);
    if (content.owner !== undefined && content.owner !== owner) {
      throw new CodedError("MESH_PUBLISH_CONFLICT", `the node ${node} in consul is ${content.owner === "" ? "somebody else's" : `that of ${content.owner}`}`, {
        hint: "give publish.node another name; or deregister that node, where it is a leftover",
      });
    }
    const beside = await client.servicesBeside(node, query);
    const former: FormerNode[] = [];
    const others = (await client.nodesOf(owner, query)).filter((name) => name !== node);
    const own = await ownNodes.among(others, node);
    this.#unknown = ownNodes.problem === undefined ? others.filter((name) => !own.has(name)) : [];
    for (const name of own) {
      const there = await client.node(name, query);
      former.push({ name, isOursAlone: isOursAlone(there), isCleared: false });
    }
    this.#former = former;
    this.#hasNode = content.owner !== undefined;
    this.#isNodeOursAlone = isOursAlone(content);
    this.#isFiltered = content.isFiltered;
    this.#there = new Map(content.instances);
    this.#refused.clear();
    this.#claims.clear();
    this.#select();
    for (const service of this.#names()) {
      const name = service.toLowerCase();
      if (sharedNames.includes(name)) this.#claims.set(service, undefined);
      else if (content.strangers.has(name)) this.#claims.set(service, `on our own node ${node}, without our mark`);
      else if (beside?.has(name) === false) this.#claims.set(service, undefined);
    }
  }

  /** Writes what differs. What Consul refuses is left out until it is read again; anything else that fails rejects. */
  async write(query: PublishQuery): Promise<void> {
    const { client, node, owner, sharedNames, mayRemove, isSuperseded, logger } = this.#options;
    this.#select();
    for (const service of this.#names()) if (!this.#claims.has(service) && !sharedNames.includes(service.toLowerCase())) this.#claims.set(service, await client.othersOf(service, owner, query));
    this.#planWrites();
    let written = 0;
    for (const batch of batchesOf(this.#writes())) {
      written += await this.#writeBatch(batch, query);
      // What changed meanwhile may be more urgent than what is left.
      if (isSuperseded()) break;
    }
    this.#planWrites();
    if (written > 0) logger.info({ node, written, instances: this.#there.size }, "services of the mesh are published in consul");
    if (!mayRemove() || this.pending > 0) return;
    for (const { name, isCleared } of this.#former) if (!isCleared) await this.#clear(name, query);
    this.#former = this.#former.filter(({ isOursAlone }) => !isOursAlone).map((one) => ({ ...one, isCleared: true }));
    if (this.#there.size === 0 && this.#hasNode && this.#isNodeOursAlone) await this.#clear(node, query);
  }

  /** Takes away what is ours on a node: the whole of it where nobody else has come to it since it was read. */
  async #clear(one: string, query: PublishQuery): Promise<void> {
    const { client, node, owner, logger } = this.#options;
    const content = await client.node(one, query);
    // What came to our own node meanwhile is judged when it is read the next time.
    if (content.owner !== owner || (one === node && content.instances.size > 0)) return;
    if (isOursAlone(content)) {
      await this.#writeBatch([{ service: undefined, operations: [deleteNode(one)], onWritten: () => logger.info({ node: one }, "a node without use is removed from consul") }], query);
      if (one === node) this.#hasNode = false;
      return;
    }
    const removals = [...content.instances].map(([id, { service }]): Write => ({ service, operations: [deleteInstance(one, { id, service })], onWritten: () => {} }));
    for (const batch of batchesOf(removals)) await this.#writeBatch(batch, query);
  }

  #select(): void {
    const holders = new Map([...this.#there.values()].map(({ service, meta }) => [service, meta[SERVICE_META] ?? ""]));
    const { instances, notes } = this.#selectPublished(this.#options.catalog(), holders);
    this.#wanted = instances;
    // Records that are the same object are compared at once from now on.
    for (const { id, record } of instances) if (isDeepStrictEqual(this.#there.get(id), record)) this.#there.set(id, record);
    this.#selectionNotes = notes;
  }

  #names(): ReadonlySet<string> {
    return new Set(this.#wanted.map(({ record }) => record.service));
  }

  #planWrites(): void {
    const { mayRemove } = this.#options;
    this.#plan = planWrites({ wanted: this.#wanted, there: this.#there, othersOf: (service) => this.#claims.get(service), mayRemove: mayRemove() });
  }

  #writes(): Write[] {
    const { node, owner } = this.#options;
    const { set, remove } = this.#plan;
    const writes: Write[] = [
      ...set.map((instance) => ({ service: instance.record.service, operations: setInstance(node, instance), onWritten: () => this.#there.set(instance.id, instance.record) })),
      ...remove.map((removal) => ({ service: removal.service, operations: [deleteInstance(node, removal)], onWritten: () => this.#there.delete(removal.id) })),
    ].filter(({ service }) => !this.#refused.has(service));
    if (this.#hasNode || set.length === 0) return writes;
    return [{ service: undefined, operations: [setNode(node, owner)], onWritten: () => (this.#hasNode = true) }, ...writes];
  }

  /** Gives how much was written: all, but for what Consul refuses. */
  async #writeBatch(batch: readonly Write[], query: PublishQuery): Promise<number> {
    const { client, bucket, clock, node } = this.#options;
    let left = batch;
    while (left.length > 0) {
      const delayMs = bucket.take();
      if (delayMs > 0) await pause(clock, delayMs, query.signal);
      const refusals = await client.write(left.flatMap(({ operations }) => operations), query);
      if (refusals.length === 0) {
        for (const { onWritten } of left) onWritten();
        return left.length;
      }
      for (const { operation, reason } of refusals) {
        const culprit = left.find(({ operations }) => operations.includes(operation));
        const error = refusalOf(reason, node, culprit?.service);
        if (culprit?.service === undefined) throw error;
        this.#refused.set(culprit.service, error);
      }
      left = left.filter(({ service }) => service === undefined || !this.#refused.has(service));
    }
    return 0;
  }
}
