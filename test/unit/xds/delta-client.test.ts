import assert from "node:assert/strict";
import { connectGrpc } from "../../../base/grpc/client.ts";
import { type BoundGrpcServer, serveGrpc } from "../../../base/grpc/server.ts";
import { GrpcError } from "../../../base/grpc/status.ts";
import { silentLogger } from "../../../base/logger.ts";
import { TaskGroup } from "../../../base/task-group.ts";
import { type DeltaClient, type DeltaClientOptions, type DeltaClientState, startDeltaClient } from "../../../xds/delta-client.ts";
import { createDeltaServer, DELTA_ADS_PATH, type DeltaServer, type OpenedDeltaStream } from "../../../xds/delta-server.ts";
import { createResourceSet, type ResourceSet } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { createManualClock } from "../../support/manual-clock.ts";
import { waitUntil } from "../../support/wait-until.ts";
import { resource } from "./xds-client-model.ts";

const { cluster, listener } = TYPE_URLS;
const types = [cluster, listener];

describe("delta client and server", () => {
  let group: TaskGroup;
  let served: ResourceSet;
  let copy: ResourceSet;
  let bound: BoundGrpcServer;
  let states: DeltaClientState[];
  let opened: Partial<OpenedDeltaStream>;
  beforeEach(() => {
    group = new TaskGroup();
    served = createResourceSet();
    copy = createResourceSet();
    states = [];
    opened = {};
  });
  afterEach(() => group.close());

  const serve = async (port = 0): Promise<DeltaServer> => {
    const server = createDeltaServer({
      maxResponseBytes: 2000,
      onOpen: (_peer, node) => {
        if (node?.id !== "host-1") throw new GrpcError("PERMISSION_DENIED", `nothing for ${node?.id}`);
        return { sets: [served], marksCompleteness: true, ...opened };
      },
    });
    bound = group.own(await serveGrpc({ listen: { host: "127.0.0.1", port }, handlers: { [DELTA_ADS_PATH]: server.handler }, logger: silentLogger }));
    return server;
  };
  const start = (options: Partial<DeltaClientOptions> = {}): DeltaClient => {
    const client = group.own(connectGrpc({ target: bound.address }));
    return group.own(
      startDeltaClient({
        client,
        types,
        set: copy,
        node: () => ({ id: "host-1" }),
        backoff: { baseMs: 10, maxMs: 50 },
        onState: (state) => states.push(state),
        ...options,
      }),
    );
  };
  const fill = (count: number, content = ""): void =>
    served.update((transaction) => {
      for (let index = 0; index < count; index += 1) {
        for (const type of types) transaction.upsert(resource(type, `n${index}`, `${content}${index}`));
      }
    });
  const isEqual = (): boolean => types.every((type) => served.digest(type) === copy.digest(type) && served.size(type) === copy.size(type));
  const synced = (): Promise<unknown> => waitUntil(() => states.at(-1)?.phase === "synced" && isEqual(), { what: "the copy to be equal", timeoutMs: 5000 });

  it("copies everything in one transaction, then follows, byte for byte", async () => {
    const server = await serve();
    fill(100);
    let transactions = 0;
    copy.watch(() => (transactions += 1));
    start();
    await synced();
    assert.equal(transactions, 1, "split over many responses, seen as one");
    served.update((transaction) => {
      transaction.remove(cluster, "n3");
      transaction.upsert(resource(listener, "n4", "changed"));
    });
    await synced();
    assert.deepEqual(copy.get(listener, "n4")?.bytes, served.get(listener, "n4")?.bytes);
    const status = await waitUntil(() => server.streams().find(({ types: all }) => all.every(({ state }) => state === "SYNCED")), { what: "all to be acknowledged" });
    assert.deepEqual(status?.types.map(({ acknowledgedDigest }) => acknowledgedDigest), types.map((type) => served.digest(type)));
  });

  it("keeps its state while the server is away, and fetches only the difference after", async () => {
    await serve();
    fill(50);
    start();
    await synced();
    const { address } = bound;
    await bound.close();
    await waitUntil(() => states.at(-1)?.phase !== "synced", { what: "the loss to be noticed" });
    assert.equal(copy.size(cluster), 50);
    served.update((transaction) => {
      transaction.remove(cluster, "n0");
      transaction.upsert(resource(cluster, "extra"));
    });
    const changed: string[] = [];
    copy.watch((changes) => {
      for (const names of changes.values()) changed.push(...names);
    });
    await serve("port" in address ? address.port : 0);
    await synced();
    assert.deepEqual(changed.sort(), ["extra", "n0"]);
  });

  it("is complete with nothing at all, and drops what only it has", async () => {
    await serve();
    copy.update((transaction) => transaction.upsert(resource(cluster, "stale")));
    start();
    await synced();
    assert.equal(copy.size(cluster), 0);
  });

  it("refuses what its owner refuses, and takes the rest", async () => {
    const nacks: string[] = [];
    opened = { onNack: ({ resources, isFinal, message }) => void (isFinal && nacks.push(`${resources[0]?.name}: ${message}`)) };
    await serve();
    fill(10);
    served.update((transaction) => transaction.upsert(resource(cluster, "n5", "evil")));
    start({ accept: ({ resources }) => (resources.some(({ bytes }) => bytes.toString() === "evil") ? "evil in it" : undefined) });
    await waitUntil(() => copy.size(cluster) === 9 && copy.size(listener) === 10 && nacks.length === 1, { what: "all but one" });
    assert.deepEqual(nacks, ["n5: evil in it"]);
  });

  it("is ended by the server's owner, also while that one decides about the stream", async () => {
    let isClosed = 0;
    let end: ((reason: Error) => void) | undefined;
    const decided = Promise.withResolvers<void>();
    const server = createDeltaServer({
      onOpen: async (_peer, _node, stream) => {
        ({ end } = stream);
        await decided.promise;
        return { sets: [served], onClose: () => (isClosed += 1) };
      },
    });
    bound = group.own(await serveGrpc({ listen: { host: "127.0.0.1", port: 0 }, handlers: { [DELTA_ADS_PATH]: server.handler }, logger: silentLogger }));
    fill(10);
    let told = 0;
    const accept: DeltaClientOptions["accept"] = ({ resources }) => void (told += resources.length);
    const client = start({ accept, backoff: { baseMs: 100_000, maxMs: 100_000 } });
    await waitUntil(() => end !== undefined, { what: "the decision to begin" });
    end?.(new GrpcError("PERMISSION_DENIED", "no more"));
    end?.(new GrpcError("ABORTED", "and again"));
    decided.resolve();
    await waitUntil(() => client.state().phase === "waiting", { what: "the end" });
    assert.deepEqual([client.state().error?.message, told, isClosed, server.streams().length], ["no more", 0, 1, 0]);
    await client.close();

    const other = start({ backoff: { baseMs: 100_000, maxMs: 100_000 }, completenessTimeoutMs: 100 });
    await synced();
    assert.equal(server.streams().length, 1);
    end?.(new GrpcError("PERMISSION_DENIED", "no more of it"));
    await waitUntil(() => other.state().phase === "waiting", { what: "the end" });
    assert.deepEqual([other.state().error?.message, isClosed, server.streams().length], ["no more of it", 2, 0]);
  });

  it("stays as it is while the server has lost the anchor, and takes all of it at once when it is back", async () => {
    await serve();
    fill(5);
    const startAnchored = (): DeltaClient => start({ anchor: { typeUrl: listener, name: "n0" } });
    const client = startAnchored();
    await synced();
    const transactions: number[] = [];
    copy.watch(() => transactions.push(copy.size(listener)));
    const forget = (): void =>
      served.update((transaction) => {
        for (const type of types) transaction.replaceAll(type, []);
      });

    // On a stream that is open.
    forget();
    await waitUntil(() => client.state().phase === "syncing", { what: "the loss to be noticed" });
    fill(6);
    await synced();
    assert.deepEqual(transactions, [6], "nothing was gone in between");

    // And on a new one.
    await client.close();
    forget();
    const again = startAnchored();
    await waitUntil(() => again.state().phase === "syncing", { what: "the stream" });
    await again.close();
    assert.equal(copy.size(listener), 6);
    startAnchored();
    await waitUntil(() => states.at(-1)?.phase === "syncing", { what: "another stream" });
    fill(7);
    await synced();
    assert.deepEqual(transactions, [6, 7]);
  });

  it("does not take a server's silence for its having nothing", async () => {
    const silence = Promise.withResolvers<void>();
    const answered = { sets: [served] };
    const server = createDeltaServer({
      async onOpen() {
        await silence.promise;
        // Of another make: it marks nothing.
        return answered;
      },
    });
    bound = group.own(await serveGrpc({ listen: { host: "127.0.0.1", port: 0 }, handlers: { [DELTA_ADS_PATH]: server.handler }, logger: silentLogger }));
    const clock = createManualClock();
    fill(3);
    copy.update((transaction) => transaction.upsert(resource(cluster, "held")));
    start({ clock });
    await waitUntil(() => states.at(-1)?.phase === "syncing", { what: "the stream" });
    clock.advance(60_000);
    assert.equal(states.at(-1)?.phase, "syncing");
    assert.equal(copy.size(cluster), 1);
    silence.resolve();
    await waitUntil(
      () => {
        clock.advance(11_000);
        return states.at(-1)?.phase === "synced";
      },
      { what: "the answers to be taken" },
    );
    assert.ok(isEqual());
  });

  it("shows why it is not served", async () => {
    await serve();
    const client = start({ node: () => ({ id: "host-2" }) });
    await waitUntil(() => client.state().error !== undefined, { what: "an error" });
    assert.equal(client.state().error?.message, "nothing for host-2");
  });
});
