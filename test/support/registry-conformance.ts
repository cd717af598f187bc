import assert from "node:assert/strict";
import fc from "fast-check";
import type { Registry } from "../../discovery/registry/registry.ts";
import { waitUntil } from "./wait-until.ts";

/** An instance in the words that all registries understand. */
export interface SampleInstance {
  /** Unique in its service. */
  readonly id: string;
  readonly port: number;
  readonly isHealthy: boolean;
}

/** A registry under test with the source that it reads. */
export interface RegistryWorld {
  readonly registry: Registry;
  /** Makes these all instances of a service in the source; none: the service is gone. */
  set(service: string, instances: readonly SampleInstance[]): Promise<void>;
  /** The registry hears nothing any more, until `reconnect`. */
  disconnect(): Promise<void>;
  reconnect(): Promise<void>;
  /** Another registry that reads the same source from the beginning; the caller closes it. */
  fresh(): Promise<Registry>;
  close(): Promise<void>;
}

export interface ConformanceOptions {
  /** Opens a world with an empty source and a started registry. */
  readonly open: () => Promise<RegistryWorld>;
  /** How many sequences of events are tried; a real peer is slower than a fake. */
  readonly numRuns: number;
}

/** What every registry has to do, whatever it reads from. */
export function describeRegistryConformance({ open, numRuns }: ConformanceOptions): void {
  describe("conformance", () => {
    let world: RegistryWorld;

    beforeEach(async () => {
      world = await open();
    });

    afterEach(() => world.close());

    const settled = async (instances: Readonly<Record<string, readonly SampleInstance[]>>): Promise<void> => {
      const wanted = Object.values(instances).flat().length;
      await waitUntil(() => countOf(world.registry) === wanted, { what: `${wanted} instances`, intervalMs: 5 });
    };

    it("tells where everything comes from, under keys of its own", async () => {
      await world.set("a", [sample("1"), sample("2")]);
      await settled({ a: [sample("1"), sample("2")] });
      const { services, workloads } = contentOf(world.registry);
      const instances = [...workloads, ...services.flatMap(([, { backends }]) => (backends.kind === "explicit" ? backends.workloads.map((one) => [one.key, one] as const) : []))];
      assert.equal(instances.length, 2);
      for (const [key, workload] of instances) {
        assert.equal(workload.key, key);
        assert.ok(key.startsWith(`${world.registry.name}/`), key);
        assert.equal(workload.source.registry, world.registry.name);
      }
      for (const [, service] of services) assert.equal(service.source.registry, world.registry.name);
      assert.equal(world.registry.status().name, world.registry.name);
      assert.equal(world.registry.status().synced, true);
      assert.equal(world.registry.status().lastError, undefined);
    });

    it("says nothing when nothing changed", async () => {
      await world.set("a", [sample("1")]);
      await settled({ a: [sample("1")] });
      let batches = 0;
      world.registry.services.subscribe(() => (batches += 1));
      world.registry.workloads.subscribe(() => (batches += 1));
      await world.set("a", [sample("1")]);
      await world.disconnect();
      await world.reconnect();
      await world.set("b", [sample("1")]);
      await settled({ a: [sample("1")], b: [sample("1")] });
      assert.ok(batches <= 2, `${batches} batches for one new service`);
    });

    it("loses nothing while it hears nothing", async () => {
      await world.set("a", [sample("1"), sample("2")]);
      await settled({ a: [sample("1"), sample("2")] });
      const before = contentOf(world.registry);
      await world.disconnect();
      assert.deepEqual(contentOf(world.registry), before);
      await world.reconnect();
      await world.set("a", [sample("1")]);
      await settled({ a: [sample("1")] });
    });

    it("says nothing after it is closed", async () => {
      await world.set("a", [sample("1")]);
      await settled({ a: [sample("1")] });
      await world.registry.close();
      const before = contentOf(world.registry);
      await world.set("a", [sample("1"), sample("2")]);
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.deepEqual(contentOf(world.registry), before);
    });

    it("ends where a fresh one begins, after any events and disconnects (property)", async () => {
      const instance = fc.record({ id: fc.constantFrom("1", "2", "3", "4"), port: fc.constantFrom(80, 81), isHealthy: fc.boolean() });
      const event = fc.oneof(
        { weight: 4, arbitrary: fc.record({ service: fc.constantFrom("a", "b", "c"), instances: fc.uniqueArray(instance, { maxLength: 4, selector: ({ id }) => id }) }) },
        { weight: 1, arbitrary: fc.constant("disconnect" as const) },
        { weight: 1, arbitrary: fc.constant("reconnect" as const) },
      );
      await fc.assert(
        fc.asyncProperty(fc.array(event, { maxLength: 10 }), async (events) => {
          const tried = await open();
          try {
            for (const one of events) {
              if (one === "disconnect") await tried.disconnect();
              else if (one === "reconnect") await tried.reconnect();
              else await tried.set(one.service, one.instances);
            }
            await tried.reconnect();
            const fresh = await tried.fresh();
            try {
              await waitUntil(() => fresh.status().synced, { what: "the fresh registry", intervalMs: 5 });
              await waitUntil(
                () => {
                  assert.deepEqual(contentOf(tried.registry), contentOf(fresh));
                  return true;
                },
                { what: "the same content", intervalMs: 5 },
              );
            } finally {
              await fresh.close();
            }
          } finally {
            await tried.close();
          }
        }),
        { numRuns },
      );
    });
  });
}

function sample(id: string): SampleInstance {
  return { id, port: 80, isHealthy: true };
}

function contentOf({ services, workloads, templates }: Registry) {
  const sorted = <T>(entries: ReadonlyMap<string, T>): [string, T][] => [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  return { services: sorted(services.entries()), workloads: sorted(workloads.entries()), templates: sorted(templates.entries()) };
}

function countOf({ services, workloads }: Registry): number {
  let count = workloads.entries().size;
  for (const { backends } of services.entries().values()) if (backends.kind === "explicit") count += backends.workloads.length;
  return count;
}
