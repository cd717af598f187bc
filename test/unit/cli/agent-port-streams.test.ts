import assert from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import { agentService } from "../../../agent/agent-service.ts";
import { connectGrpc, type GrpcClient } from "../../../base/grpc/client.ts";
import type { TlsIdentity } from "../../../base/grpc/tls.ts";
import { silentLogger } from "../../../base/logger.ts";
import { TaskGroup } from "../../../base/task-group.ts";
import { privateKeyPem } from "../../../base/x509/key.ts";
import { encodePem } from "../../../base/x509/pem.ts";
import { type AgentPort, openAgentPort } from "../../../cli/control-plane/agent-port.ts";
import { followGrants } from "../../../cli/control-plane/grants.ts";
import { type Push, startPush } from "../../../discovery/push/push.ts";
import { REPORT_PATH } from "../../../discovery/report-rpc.ts";
import { ReportRequestSchema } from "../../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { type DeltaClient, type DeltaClientState, startDeltaClient } from "../../../xds/delta-client.ts";
import { DELTA_ADS_PATH } from "../../../xds/delta-server.ts";
import { createResource } from "../../../xds/resource.ts";
import { createResourceSet, type ResourceSet } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { type CaFixture, type EnrolledHost, enrolHost, newKey, openCaFixture, type TestKey } from "../../support/ca-fixture.ts";
import { BATCH_MS, type Mesh, startMesh } from "../../support/push-mesh.ts";
import { resource } from "../../support/resource.ts";
import { waitUntil } from "../../support/wait-until.ts";

const SERVICE = "/ironmesh.agent.v1.AgentService";

/** A host's agent, as far as its stream goes. */
interface Agent {
  /** What it was told. */
  readonly set: ResourceSet;
  readonly stream: DeltaClient;
  readonly states: readonly DeltaClientState[];
}

describe("streams of the agents' port", () => {
  let group: TaskGroup;
  let ca: CaFixture;
  let mesh: Mesh;
  let push: Push;
  let port: AgentPort;
  let roots: string[];

  beforeEach(async () => {
    group = new TaskGroup();
    ca = await openCaFixture();
    group.defer(() => ca.close());
    // TLS looks at the machine's clock.
    ca.clock.advance(Date.now() - ca.clock.now());
    mesh = await startMesh();
    group.defer(() => mesh.close());
    push = group.own(startPush(mesh.inputs));
    const grants = group.own(await followGrants({ store: ca.store, clock: ca.clock, logger: silentLogger }));
    grants.subscribe((hostId, isRevoked) => (isRevoked ? mesh.hosts.remove(hostId) : mesh.hosts.recheck(hostId)));
    const listen = [{ host: "127.0.0.1", port: 0 }];
    port = group.own(await openAgentPort({ listen, authority: ca.ca, grants, hosts: mesh.hosts, push, clock: mesh.clock, locate: () => [], onNack: () => undefined, logger: silentLogger }));
    roots = (await ca.ca.trustBundle()).roots.map((root) => encodePem("CERTIFICATE", root));
  });
  afterEach(() => group.close());

  const client = (identity?: () => TlsIdentity): GrpcClient => {
    const [target] = port.addresses;
    assert.ok(target !== undefined);
    return group.own(connectGrpc({ target, tls: () => ({ roots, checkServer: () => undefined, ...(identity === undefined ? {} : { identity: identity() }) }) }));
  };
  const identityOf = ({ chain }: { readonly chain: readonly Uint8Array[] }, key: TestKey): TlsIdentity => ({
    certificateChain: chain.map((der) => encodePem("CERTIFICATE", der)).join(""),
    privateKey: privateKeyPem(key.privateKey),
  });
  const inSession = (session: string, own: GrpcClient): GrpcClient => {
    const metadata = { "ironmesh-session": session };
    return { ...own, unary: (path, request, options) => own.unary(path, request, { ...options, metadata }), stream: (path, options) => own.stream(path, { ...options, metadata }) };
  };
  const startStream = (own: GrpcClient, set = createResourceSet()): Agent => {
    const states: DeltaClientState[] = [];
    const options = { client: own, types: [TYPE_URLS.cluster], set, node: () => ({ id: "host" }), backoff: { baseMs: 10, maxMs: 50 } };
    return { set, states, stream: group.own(startDeltaClient({ ...options, onState: (state) => states.push(state) })) };
  };
  const errorsOf = ({ states }: Agent): string[] => states.flatMap(({ phase, error }) => (phase === "waiting" ? [error?.message ?? ""] : []));
  const isSynced = ({ states }: Agent): boolean => states.at(-1)?.phase === "synced";
  const addService = async (name: string): Promise<void> => {
    mesh.take({ do: "write", resource: resource("Service", name, { selector: { app: name }, ports: [{ name: "http", port: 80 }] }) });
    await mesh.settled();
    mesh.clock.advance(BATCH_MS);
  };
  const knows = ({ set }: Agent, name: string): boolean => [...set.list(TYPE_URLS.cluster)].some((cluster) => cluster.name.includes(`||${name}.`));
  /** Without it a stream is told nothing. */
  const report = async (own: GrpcClient): Promise<void> => {
    await agentService(own).report(create(ReportRequestSchema, { hostName: "vm" }));
    mesh.clock.advance(BATCH_MS);
  };

  it("hears nothing of a caller without a certificate, except what joining needs", async () => {
    const stranger = client();
    for (const path of [`${SERVICE}/RenewHost`, `${SERVICE}/SignWorkload`, REPORT_PATH, DELTA_ADS_PATH]) {
      // Nothing is sent: whoever waited for a message would let it wait.
      const silent = await stranger.stream(path);
      await assert.rejects(silent.messages.next(), { status: "UNAUTHENTICATED", message: /^MESH_CALLER_ANONYMOUS: / }, path);
    }
    await assert.rejects(stranger.unary(`${SERVICE}/Join`, Buffer.alloc(16 * 1024 + 1)), { status: "RESOURCE_EXHAUSTED" });
    await assert.rejects(agentService(stranger).join({ token: "no token", csr: newKey().csr }), { status: "INVALID_ARGUMENT", message: /MESH_TOKEN_MALFORMED/u });
    assert.deepEqual(port.streams(), []);
  });

  it("ends the stream of a revoked host at once, and opens it no other", async () => {
    const [bad, good] = [await enrolHost(ca.ca, ["shop/web"]), await enrolHost(ca.ca, ["shop/db"])];
    const open = (host: EnrolledHost): GrpcClient => client(() => identityOf(host.certificate, host.key));
    const [badClient, goodClient] = [open(bad), open(good)];
    const [badAgent, goodAgent] = [startStream(badClient), startStream(goodClient)];
    await report(badClient);
    await report(goodClient);
    await waitUntil(() => isSynced(badAgent) && isSynced(goodAgent), { what: "both streams" });
    await addService("public");
    await waitUntil(() => knows(badAgent, "public") && knows(goodAgent, "public"), { what: "what both may know" });

    await ca.ca.revokeHost(bad.hostId, "stolen");
    await waitUntil(() => errorsOf(badAgent).length >= 2, { what: "the end of the stream, and a refusal of the next" });
    await addService("secret");
    await waitUntil(() => knows(goodAgent, "secret"), { what: "what only the other may know" });
    assert.equal(knows(badAgent, "secret"), false);
    for (const message of errorsOf(badAgent)) assert.match(message, /^MESH_HOST_REVOKED: .* stolen/u);
    assert.deepEqual(port.streams().map(({ id }) => port.hostOf(id)), [good.hostId]);
    await assert.rejects(report(badClient), { status: "PERMISSION_DENIED", message: /MESH_HOST_REVOKED/u });
    assert.equal(mesh.hosts.hosts.get(bad.hostId), undefined);
    assert.deepEqual(errorsOf(goodAgent), []);
  });

  it("takes no report that a host began before it was revoked", async () => {
    const host = await enrolHost(ca.ca, ["shop/web"]);
    const own = client(() => identityOf(host.certificate, host.key));
    const begun = await own.stream(REPORT_PATH);
    await begun.write(toBinary(ReportRequestSchema, create(ReportRequestSchema, { hostName: "vm" })));
    // On the same connection, and later: the other one was let in.
    await report(own);
    assert.ok(mesh.hosts.hosts.get(host.hostId) !== undefined);
    await ca.ca.revokeHost(host.hostId, "stolen");
    await waitUntil(() => mesh.hosts.hosts.get(host.hostId) === undefined, { what: "the end of the host" });
    begun.end();
    await assert.rejects(begun.messages.next(), { status: "PERMISSION_DENIED", message: /MESH_HOST_REVOKED/u });
    assert.equal(mesh.hosts.hosts.get(host.hostId), undefined);
  });

  it("ends a stream under a key that its host has replaced, and serves the host on under the new one", async () => {
    const host = await enrolHost(ca.ca, ["shop/web"]);
    let identity = identityOf(host.certificate, host.key);
    const own = client(() => identity);
    const agent = startStream(own);
    await report(own);
    await waitUntil(() => isSynced(agent), { what: "its stream" });

    const key = newKey();
    const { certificateChain } = await agentService(own).renewHost(key.csr);
    // A renewal whose reply is lost must not cost the stream: the old key is good until the new one was used.
    await addService("one");
    await waitUntil(() => knows(agent, "one"), { what: "a change after the renewal" });
    assert.deepEqual(errorsOf(agent), []);

    const thief = startStream(client(() => identityOf(host.certificate, host.key)));
    await waitUntil(() => isSynced(thief), { what: "the stream of whoever has the old key" });
    identity = identityOf({ chain: certificateChain }, key);
    own.reconnect();
    await report(own);
    await waitUntil(() => errorsOf(agent).length === 1 && isSynced(agent), { what: "its stream under the new key" });
    assert.match(errorsOf(agent)[0] ?? "", /^MESH_HOST_KEY_MISMATCH/u);
    assert.equal(mesh.hosts.hosts.get(host.hostId)?.state, "connected");
    await addService("two");
    await waitUntil(() => knows(agent, "two"), { what: "a change under the new key" });
    assert.equal(knows(thief, "two"), false);
    for (const message of errorsOf(thief)) assert.match(message, /^MESH_HOST_KEY_MISMATCH/u);
    assert.equal(port.streams().length, 1);
  });

  it("takes the end of a stream at a renewal for nobody's attempt", async () => {
    const host = await enrolHost(ca.ca, ["shop/web"]);
    let identity = identityOf(host.certificate, host.key);
    const own = client(() => identity);
    const agent = startStream(own);
    await report(own);
    await waitUntil(() => isSynced(agent), { what: "its stream" });
    const key = newKey();
    const { certificateChain } = await agentService(own).renewHost(key.csr);
    identity = identityOf({ chain: certificateChain }, key);
    own.reconnect();
    await report(own);
    await waitUntil(() => errorsOf(agent).length === 1 && isSynced(agent), { what: "its stream under the new key" });
    const { entries } = await ca.ca.journal(100);
    assert.deepEqual(entries.filter(({ type }) => type === "caller-refused"), []);
  });

  it("lets an agent come back that names more than an ordinary message has room for", async () => {
    const host = await enrolHost(ca.ca, ["shop/web"]);
    const own = client(() => identityOf(host.certificate, host.key));
    await report(own);
    // Some 4.5 MiB of names and versions.
    const names = Array.from({ length: 14_000 }, (_, index) => `outbound|80||${"x".repeat(280)}-${index}`);
    push.shared.update((transaction) => names.forEach((name) => transaction.upsert(createResource(TYPE_URLS.cluster, name, Buffer.alloc(0)))));
    const first = startStream(own);
    await waitUntil(() => isSynced(first), { what: "the first stream" });
    await first.stream.close();
    const again = startStream(own, first.set);
    await waitUntil(() => isSynced(again) || errorsOf(again).length > 0, { what: "the second stream" });
    assert.deepEqual(errorsOf(again), []);
    assert.ok(names.every((name) => again.set.get(TYPE_URLS.cluster, name) !== undefined));
  });

  it("serves an agent that comes back before its old stream is noticed dead", async () => {
    const host = await enrolHost(ca.ca, ["shop/web"]);
    const open = (): GrpcClient => client(() => identityOf(host.certificate, host.key));
    const [before, after] = [open(), open()];
    const old = startStream(before);
    await report(before);
    await waitUntil(() => isSynced(old), { what: "the first stream" });
    const agent = startStream(after);
    await waitUntil(() => isSynced(agent), { what: "the second stream" });
    await before.close();
    await waitUntil(() => port.streams().length === 1, { what: "the end of the first" });
    assert.equal(mesh.hosts.hosts.get(host.hostId)?.state, "connected");
    await addService("one");
    await waitUntil(() => knows(agent, "one"), { what: "a change" });
    assert.deepEqual(errorsOf(agent), []);
  });

  it("serves one agent of a host alone, whatever a second one asks for, and that one when the first is gone", async () => {
    const host = await enrolHost(ca.ca, ["shop/web"]);
    const open = (session: string): GrpcClient => inSession(session, client(() => identityOf(host.certificate, host.key)));
    const [first, second] = [open("a"), open("b")];
    const old = startStream(first);
    await report(first);
    await waitUntil(() => isSynced(old), { what: "the stream of the first" });

    const refusal = { status: "PERMISSION_DENIED", message: /^MESH_HOST_TWICE: host .* is live at 127\.0\.0\.1 already/u };
    const service = agentService(second);
    await assert.rejects(service.report(create(ReportRequestSchema, { hostName: "copy" })), refusal);
    // It would lock out the first one.
    await assert.rejects(service.renewHost(newKey().csr), refusal);
    await assert.rejects(service.signWorkload("shop/web", newKey().csr), refusal);
    const copy = startStream(second);
    await waitUntil(() => errorsOf(copy).length >= 2, { what: "the copy's stream to be refused" });
    for (const message of errorsOf(copy)) assert.match(message, refusal.message);
    await report(first);
    assert.deepEqual([errorsOf(old), mesh.hosts.hosts.get(host.hostId)?.report.hostName, port.turnedAway(host.hostId).length], [[], "vm", 1]);
    const { entries } = await ca.ca.journal(100);
    assert.deepEqual(entries.filter(({ type }) => type === "caller-refused").map(({ facts }) => [facts["code"], facts["hostId"]]), [["MESH_HOST_TWICE", host.hostId]]);

    await old.stream.close();
    await waitUntil(() => isSynced(copy), { what: "the stream of the second" });
    await report(second);
    await assert.rejects(report(first), refusal);
    await assert.rejects(report(open("no session")), { status: "INVALID_ARGUMENT", message: /ironmesh-session/u });
  });

  it("tells whoever has an old key of a host so, and takes it for no second agent", async () => {
    const host = await enrolHost(ca.ca, ["shop/web"]);
    const thief = agentService(inSession("b", client(() => identityOf(host.certificate, host.key))));
    const key = newKey();
    const { certificateChain } = await agentService(client(() => identityOf(host.certificate, host.key))).renewHost(key.csr);
    const own = inSession("a", client(() => identityOf({ chain: certificateChain }, key)));
    const agent = startStream(own);
    await report(own);
    await waitUntil(() => isSynced(agent), { what: "the stream" });
    const refusal = { status: "PERMISSION_DENIED", message: /^MESH_HOST_KEY_MISMATCH/u };
    await assert.rejects(thief.signWorkload("shop/web", newKey().csr), refusal);
    await assert.rejects(thief.renewHost(newKey().csr), refusal);
    assert.deepEqual(port.turnedAway(host.hostId), []);
    const { entries } = await ca.ca.journal(100);
    const refused = entries.filter(({ type }) => type === "certificate-refused" || type === "caller-refused");
    assert.deepEqual(refused.map(({ type, facts }) => [type, facts["code"]]), [0, 1].map(() => ["certificate-refused", "MESH_HOST_KEY_MISMATCH"]));
  });
});
