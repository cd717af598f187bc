import assert from "node:assert/strict";
import { create, type DescMessage, fromBinary, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";
import * as grpcJs from "@grpc/grpc-js";
import { silentLogger } from "../../../base/logger.ts";
import { TaskGroup } from "../../../base/task-group.ts";
import { openDebugPort } from "../../../cli/control-plane/debug-port.ts";
import { type Push, startPush } from "../../../discovery/push/push.ts";
import { RouteConfigurationSchema } from "../../../proto/gen/envoy/config/route/v3/route_pb.js";
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from "../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { DELTA_ADS_PATH } from "../../../xds/delta-server.ts";
import { SOTW_ADS_PATH } from "../../../xds/sotw-server.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { BATCH_MS, type Mesh, startMesh } from "../../support/push-mesh.ts";
import { resource } from "../../support/resource.ts";

const WEB = "sidecar~10.0.0.3~web.default~default.svc.mesh.internal";
const { cluster, clusterLoadAssignment, listener, routeConfiguration, secret } = TYPE_URLS;

/** One stream of another make's client. */
interface ForeignStream<Request, Response> {
  send(request: Request): void;
  sendBytes(bytes: Uint8Array): void;
  /** @throws what the server ended the stream with */
  next(): Promise<Response>;
}

describe("the plaintext debug listener", () => {
  let group: TaskGroup;
  let mesh: Mesh;
  let push: Push;
  let client: grpcJs.Client;

  beforeEach(async () => {
    group = new TaskGroup();
    mesh = await startMesh();
    group.defer(() => mesh.close());
    for (const app of ["web", "db"]) {
      mesh.take({ do: "write", resource: resource("Service", app, { selector: { app }, ports: [{ name: "http", port: 80, targetPort: 8_080 }] }) });
      mesh.take({ do: "write", resource: resource("WorkloadGroup", app, { metadata: { labels: { app } }, template: { ports: { http: 8_080 } } }) });
    }
    mesh.take({ do: "report", host: "h1", groups: ["default/web", "default/db"], isHealthy: true });
    await mesh.settled();
    push = group.own(startPush(mesh.inputs));
    const server = group.own(await openDebugPort({ listen: { host: "127.0.0.1", port: 0 }, hosts: mesh.hosts, push, logger: silentLogger }));
    assert.ok("port" in server.address);
    client = new grpcJs.Client(`127.0.0.1:${server.address.port}`, grpcJs.credentials.createInsecure());
    group.defer(() => client.close());
  });
  afterEach(() => group.close());

  function open<In extends DescMessage, Out extends DescMessage>(path: string, requestSchema: In, responseSchema: Out): ForeignStream<MessageInitShape<In>, MessageShape<Out>> {
    const asIs = (bytes: Buffer): Buffer => bytes;
    const call = client.makeBidiStreamRequest(path, asIs, asIs);
    const responses = call[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    group.defer(() => {
      call.on("error", () => undefined);
      call.cancel();
    });
    return {
      send: (request) => void call.write(Buffer.from(toBinary(requestSchema, create(requestSchema, request)))),
      sendBytes: (bytes) => void call.write(Buffer.from(bytes)),
      async next() {
        const { value, done } = await responses.next();
        assert.ok(done !== true, "the stream ended");
        return fromBinary(responseSchema, value);
      },
    };
  }
  const openSotw = () => open(SOTW_ADS_PATH, DiscoveryRequestSchema, DiscoveryResponseSchema);
  const openDelta = () => open(DELTA_ADS_PATH, DeltaDiscoveryRequestSchema, DeltaDiscoveryResponseSchema);

  const tablesOf = ({ resources }: DiscoveryResponse) => resources.map(({ value }) => fromBinary(RouteConfigurationSchema, value));

  it("serves state of the world to a client of another make: first everything, then what changes", async () => {
    const stream = openSotw();
    stream.send({ node: { id: WEB }, typeUrl: cluster });
    const clusters = await stream.next();
    assert.equal(clusters.resources.length, 5, "two services, two fixed ones, and its own port");
    stream.send({ typeUrl: cluster, versionInfo: clusters.versionInfo, responseNonce: clusters.nonce });
    stream.send({ typeUrl: listener });
    const listeners = await stream.next();
    assert.equal(listeners.typeUrl, listener);
    assert.equal(listeners.resources.length, 2);
    stream.send({ typeUrl: routeConfiguration, resourceNames: ["80"] });
    const routes = await stream.next();
    stream.send({ typeUrl: routeConfiguration, resourceNames: ["80"], versionInfo: routes.versionInfo, responseNonce: routes.nonce });
    assert.deepEqual(tablesOf(routes).map(({ name, virtualHosts, vhds }) => [name, virtualHosts.length, vhds]), [["80", 3, undefined]]);

    const routed = resource("VirtualService", "web", { hosts: ["web"], http: [{ route: [{ destination: { host: "web" } }], timeout: "7s" }] });
    mesh.take({ do: "write", resource: routed });
    mesh.clock.advance(BATCH_MS);
    const changed = await stream.next();
    assert.equal(changed.typeUrl, routeConfiguration);
    assert.notEqual(changed.versionInfo, routes.versionInfo);
    const action = tablesOf(changed)[0]?.virtualHosts.find(({ name }) => name.includes("web"))?.routes[0]?.action;
    assert.ok(action?.case === "route");
    assert.equal(action.value.timeout?.seconds, 7n);
  });

  it("serves the same to a delta client of another make", async () => {
    const stream = openDelta();
    const names: Record<string, string[]> = {};
    for (const [index, typeUrl] of [cluster, clusterLoadAssignment, listener, routeConfiguration, secret].entries()) {
      stream.send({ typeUrl, resourceNamesSubscribe: ["*"], ...(index === 0 ? { node: { id: WEB } } : {}) });
      const response = await stream.next();
      stream.send({ typeUrl, responseNonce: response.nonce });
      names[typeUrl] = response.resources.map(({ name }) => name).sort();
    }
    const sotw = openSotw();
    for (const [index, typeUrl] of Object.keys(names).entries()) {
      sotw.send({ typeUrl, resourceNames: ["*"], ...(index === 0 ? { node: { id: WEB } } : {}) });
      assert.equal((await sotw.next()).resources.length, names[typeUrl]?.length, typeUrl);
    }
    assert.deepEqual(names[listener], ["outbound|web", "virtualInbound"]);
    assert.deepEqual(names[routeConfiguration], ["80", "inbound|web|8080"]);
  });

  it("says what it does not understand, and whom it does not know, to either protocol", async () => {
    const refusals = [
      [{ id: "envoy-1" }, /INVALID_ARGUMENT: the node id envoy-1 is not sidecar~IP~NAME\.NAMESPACE~DOMAIN/u],
      [{ id: "" }, /INVALID_ARGUMENT/u],
      [{ id: "sidecar~10.0.0.3~web~x" }, /INVALID_ARGUMENT/u],
      [{ id: "sidecar~~web.default~x" }, /INVALID_ARGUMENT/u],
      [{ id: "sidecar~10.0.0.3~web.default" }, /INVALID_ARGUMENT/u],
      [{ id: "router~10.0.0.3~web.default~x" }, /INVALID_ARGUMENT/u],
      [{ id: `sidecar~${"~".repeat(1_000_000)}` }, /INVALID_ARGUMENT: the node id sidecar~+ is not/u],
      [{ id: `sidecar~1~${"a.".repeat(500_000)}default~` }, /NOT_FOUND: no host at 1 runs a workload a\.a\./u],
      [undefined, /INVALID_ARGUMENT: the first request says no node/u],
      [{ id: "sidecar~10.0.0.3~api.default~x" }, /NOT_FOUND: no host at 10\.0\.0\.3 runs a workload api of default/u],
      [{ id: "sidecar~10.0.0.3~web.other~x" }, /NOT_FOUND/u],
      [{ id: "sidecar~10.9.9.9~web.default~x" }, /NOT_FOUND: no host at 10\.9\.9\.9/u],
    ] as const;
    for (const [node, message] of refusals) {
      for (const stream of [openSotw(), openDelta()]) {
        stream.send({ typeUrl: cluster, ...(node === undefined ? {} : { node }) });
        await assert.rejects(stream.next(), message);
      }
    }
  });

  it("bears requests that make no sense, and goes on serving others", async () => {
    const broken = openSotw();
    broken.sendBytes(Buffer.from("ffffffffffffffffffff", "hex"));
    await assert.rejects(broken.next(), /INVALID_ARGUMENT: the request cannot be decoded/u);
    const nameless = openSotw();
    nameless.send({ node: { id: WEB } });
    await assert.rejects(nameless.next(), /INVALID_ARGUMENT: the request names no type/u);

    const stream = openSotw();
    stream.send({ node: { id: WEB }, typeUrl: "type.googleapis.com/nobody.knows.This", resourceNames: ["x"], responseNonce: "of another stream", versionInfo: "?" });
    assert.deepEqual((await stream.next()).resources, []);
    stream.send({ typeUrl: "garbage\u0000", resourceNames: ["*"], errorDetail: { code: 3, message: "a refusal of nothing" } });
    assert.deepEqual((await stream.next()).resources, []);
    const name = (index: number): string => `outbound|80||${index}.test`;
    stream.send({ typeUrl: clusterLoadAssignment, resourceNames: Array.from({ length: 99_000 }, (_, index) => name(index)) });
    const assignments = await stream.next();
    assert.deepEqual([assignments.typeUrl, assignments.resources.length], [clusterLoadAssignment, 0]);
    stream.send({ typeUrl: cluster });
    assert.equal((await stream.next()).resources.length, 5, "the same stream is still served");
    stream.send({ typeUrl: secret, resourceNames: Array.from({ length: 2_000 }, (_, index) => name(index)) });
    await assert.rejects(stream.next(), /RESOURCE_EXHAUSTED: more than 100000 resource names/u);
    const enormous = openSotw();
    enormous.send({ node: { id: WEB }, typeUrl: secret, resourceNames: Array.from({ length: 300_000 }, (_, index) => name(index)) });
    await assert.rejects(enormous.next(), /RESOURCE_EXHAUSTED/u);

    const other = openSotw();
    other.send({ node: { id: WEB }, typeUrl: listener });
    assert.equal((await other.next()).resources.length, 2);
  });
});
