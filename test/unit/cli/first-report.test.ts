import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkControlPlane } from "../../../agent/enrol.ts";
import { systemClock } from "../../../base/clock.ts";
import { connectGrpc } from "../../../base/grpc/client.ts";
import { GrpcError } from "../../../base/grpc/status.ts";
import { silentLogger } from "../../../base/logger.ts";
import { TaskGroup } from "../../../base/task-group.ts";
import { encodePem } from "../../../base/x509/pem.ts";
import { privateKeyPem } from "../../../base/x509/key.ts";
import { caConfigSchema } from "../../../ca/config.ts";
import { type CertificateAuthority, createCertificateAuthority } from "../../../ca/service.ts";
import { type AgentPort, type GrantChanges, openAgentPort } from "../../../cli/control-plane/agent-port.ts";
import { type Push, startPush } from "../../../discovery/push/push.ts";
import { LIVENESS_DEFAULTS } from "../../../discovery/registry/agents/registry.ts";
import { createMemoryStore } from "../../../store/memory.ts";
import { type DeltaClient, startDeltaClient } from "../../../xds/delta-client.ts";
import { createResourceSet, type ResourceSet } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { enrolHost, type EnrolledHost } from "../../support/ca-fixture.ts";
import { hostReport, workloadReport } from "../../support/host-report.ts";
import { BATCH_MS, type Mesh, startMesh } from "../../support/push-mesh.ts";
import { resource } from "../../support/resource.ts";
import { waitUntil } from "../../support/wait-until.ts";

const TYPES = [TYPE_URLS.hostConfig, TYPE_URLS.cluster, TYPE_URLS.clusterLoadAssignment, TYPE_URLS.listener, TYPE_URLS.routeConfiguration];

interface Agent {
  readonly hostId: string;
  readonly set: ResourceSet;
  readonly client: DeltaClient;
  end(): Promise<void>;
}

describe("an agent's stream and its host's first report", () => {
  let group: TaskGroup;
  let mesh: Mesh;
  let push: Push;
  let authority: CertificateAuthority;
  let port: AgentPort;
  let grantChanged: (hostId: string) => void;
  const grants: GrantChanges = { knows: () => false, subscribe: (listener) => void (grantChanged = listener) };

  beforeEach(async () => {
    group = new TaskGroup();
    const folder = mkdtempSync(join(tmpdir(), "ironmesh-port-"));
    group.defer(() => rmSync(folder, { recursive: true }));
    mesh = await startMesh();
    group.defer(() => mesh.close());
    mesh.take({ do: "write", resource: resource("Service", "web", { selector: { app: "web" }, ports: [{ name: "http", port: 80, targetPort: 8_080 }] }) });
    mesh.take({ do: "write", resource: resource("WorkloadGroup", "web", { metadata: { labels: { app: "web" } }, template: { ports: { http: 8_080 } } }) });
    await mesh.settled();
    mesh.hosts.ready();
    push = group.own(startPush(mesh.inputs));
    const config = caConfigSchema.parse({ keyFile: join(folder, "state.key") });
    authority = group.own(
      // The time is the machine's: TLS verifies certificates by that.
      await createCertificateAuthority({ store: group.own(createMemoryStore()), clock: systemClock, config, logger: silentLogger, resolveGroup: () => undefined }),
    );
    port = group.own(
      await openAgentPort({ listen: [{ host: "127.0.0.1", port: 0 }], authority, grants, hosts: mesh.hosts, push, clock: mesh.clock, locate: () => [], onNack: () => undefined, logger: silentLogger }),
    );
  });
  afterEach(() => group.close());

  const enrol = (): Promise<EnrolledHost> => enrolHost(authority, ["default/web"]);
  async function connect({ hostId, key, certificate }: EnrolledHost, set = createResourceSet()): Promise<Agent> {
    const [target] = port.addresses;
    assert.ok(target !== undefined && "port" in target);
    const pem = (der: Uint8Array): string => encodePem("CERTIFICATE", der);
    const roots = (await authority.trustBundle()).roots.map(pem);
    const identity = { certificateChain: certificate.chain.map(pem).join(""), privateKey: privateKeyPem(key.privateKey) };
    const link = connectGrpc({ target: { host: "127.0.0.1", port: target.port }, tls: () => ({ roots, identity, checkServer: checkControlPlane(authority.trustDomain) }) });
    const client = startDeltaClient({ client: link, types: TYPES, set, node: () => ({ id: `host~${hostId}` }), backoff: { baseMs: 10, maxMs: 20 } });
    const end = async (): Promise<void> => {
      await client.close();
      await link.close();
    };
    group.defer(end);
    return { hostId, set, client, end };
  }
  const report = (hostId: string, address: string): void => {
    mesh.hosts.report(hostId, hostReport([workloadReport({ group: "default/web", addresses: [address] })]));
    mesh.clock.advance(BATCH_MS);
  };
  const synced = ({ client }: Agent): Promise<boolean> => waitUntil(() => client.state().phase === "synced", { what: "the agent has everything", intervalMs: 5 });
  const streamOpened = (id: number): Promise<unknown> => waitUntil(() => port.hostOf(id), { what: `stream ${id} is known`, intervalMs: 5 });

  it("takes no listener from a host that it has forgotten, before the host reported", async () => {
    const [host, other] = [await enrol(), await enrol()];
    report(host.hostId, "10.0.0.1");
    const first = await connect(host);
    await synced(first);
    const listeners = first.set.size(TYPE_URLS.listener);
    assert.ok(listeners > 0);
    await first.end();
    await waitUntil(() => mesh.hosts.hosts.get(host.hostId)?.state === "suspect", { what: "the stream's end is noticed" });
    mesh.clock.advance(LIVENESS_DEFAULTS.graceMs);
    mesh.clock.advance(LIVENESS_DEFAULTS.forgetMs + BATCH_MS);
    assert.equal(mesh.hosts.hosts.get(host.hostId), undefined);
    assert.equal(push.setOf(host.hostId).size(TYPE_URLS.listener), 0);

    let fewest = listeners;
    first.set.watch(() => (fewest = Math.min(fewest, first.set.size(TYPE_URLS.listener))));
    const again = await connect(host, first.set);
    await streamOpened(2);
    // Another host's whole first stream takes longer than an answer to this one would.
    report(other.hostId, "10.0.0.2");
    await synced(await connect(other));
    assert.equal(again.client.state().phase, "syncing");
    report(host.hostId, "10.0.0.1");
    await synced(again);
    assert.deepEqual([fewest, first.set.size(TYPE_URLS.listener)], [listeners, listeners]);
  });

  it("opens at once for a host that it knows", async () => {
    const host = await enrol();
    report(host.hostId, "10.0.0.1");
    await synced(await connect(host));
  });

  it("tells a host that never reports to come again", async () => {
    const silent = await connect(await enrol());
    await streamOpened(1);
    mesh.clock.advance(8_000);
    const refusal = await waitUntil(() => silent.client.state().error, { what: "the stream is ended", intervalMs: 5 });
    assert.ok(refusal instanceof GrpcError && refusal.status === "UNAVAILABLE");
    assert.match(refusal.message, /host .* has not reported yet/u);
    assert.equal(port.hostOf(1), undefined);
  });

  it("ends the wait of a host that is revoked meanwhile", async () => {
    const host = await enrol();
    const silent = await connect(host);
    await streamOpened(1);
    await authority.revokeHost(host.hostId);
    grantChanged(host.hostId);
    const refusal = await waitUntil(() => silent.client.state().error, { what: "the stream is ended", intervalMs: 5 });
    assert.ok(refusal instanceof GrpcError && refusal.status === "PERMISSION_DENIED");
  });

  it("waits no longer than the stream that it waits for", async () => {
    const host = await enrol();
    const silent = await connect(host);
    await streamOpened(1);
    await silent.end();
    await waitUntil(() => port.hostOf(1) === undefined, { what: "the wait ends with the stream", intervalMs: 5 });
    report(host.hostId, "10.0.0.1");
    assert.equal(mesh.hosts.hosts.get(host.hostId)?.state, "suspect", "its stream does not count any more");
  });
});
