import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { agentService, type AgentService } from "../../../agent/agent-service.ts";
import { connectControlPlane } from "../../../agent/control-plane-link.ts";
import { enrol } from "../../../agent/enrol.ts";
import { hostIdentityOf, type HostIdentity } from "../../../agent/host-identity.ts";
import { connectGrpc, type GrpcClient } from "../../../base/grpc/client.ts";
import { silentLogger } from "../../../base/logger.ts";
import { TaskGroup } from "../../../base/task-group.ts";
import { buildCsr } from "../../../base/x509/csr.ts";
import { generatePrivateKey, privateKeyPem } from "../../../base/x509/key.ts";
import { encodePem } from "../../../base/x509/pem.ts";
import { caConfigSchema } from "../../../ca/config.ts";
import { createCertificateAuthority } from "../../../ca/service.ts";
import type { HostView, JournalView } from "../../../discovery/http/api.ts";
import { DeltaDiscoveryRequestSchema } from "../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { ReportRequestSchema } from "../../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { openSqliteStore } from "../../../store/sqlite.ts";
import { DELTA_ADS_PATH } from "../../../xds/delta-server.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { prepareControlPlane, type ControlPlaneFixture } from "../../support/control-plane.ts";
import { createManualClock } from "../../support/manual-clock.ts";
import { createTestAuthority } from "../../support/test-authority.ts";
import { waitUntil } from "../../support/wait-until.ts";

const MESH = ["web", "db"].map((name) => `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: ${name}, namespace: shop}
spec: {template: {serviceAccount: ${name}}}
`).join("---");
const DAY_MS = 86_400_000;

type Entry = JournalView["entries"][number];

/** What was made here long before the control plane started. */
interface LongAgo {
  /** Its certificate ended days ago. */
  readonly host: HostIdentity;
  readonly token: string;
}

describe("the agents' port of the real control plane", () => {
  let control: ControlPlaneFixture;
  let tasks: TaskGroup;
  let longAgo: LongAgo;
  let joins = 0;

  before(async () => {
    control = prepareControlPlane();
    control.write("mesh.yaml", MESH);
    longAgo = await makeLongAgo(control.stateDir);
    await control.start();
  });
  beforeEach(() => {
    tasks = new TaskGroup();
  });
  afterEach(() => tasks.close());
  after(() => control.close());

  const newToken = (...options: string[]): Promise<string> => control.ironmesh("token", "create", "--group", "shop/web", ...options);
  /** Joins as an agent does, with a new key. */
  const enter = (token: string): Promise<HostIdentity> => {
    const stateDir = join(control.folder, `host-${(joins += 1)}`);
    mkdirSync(stateDir, { mode: 0o700 });
    const address = { host: "127.0.0.1", port: control.port() };
    return enrol({ stateDir, controlPlane: [address], hostName: "vm", environment: { IRONMESH_TOKEN: token }, logger: silentLogger });
  };
  const linkAs = (identity: HostIdentity): GrpcClient => tasks.own(connectControlPlane([{ host: "127.0.0.1", port: control.port() }], () => identity));
  const serviceAs = (identity: HostIdentity): AgentService => agentService(linkAs(identity));
  const journal = async (): Promise<readonly Entry[]> => {
    const { entries, problems } = (await control.api.get("/api/v1/journal?last=10000")) as JournalView;
    assert.deepEqual(problems, []);
    return entries;
  };
  /** What the journal notes while it happens. Nothing of what is done in these tests makes a certificate for another. */
  const notedDuring = async (work: () => Promise<void>): Promise<readonly Entry[]> => {
    const before = await journal();
    await work();
    return (await journal()).slice(before.length);
  };
  const told = (entries: readonly Entry[]): string[] => entries.map(({ type, facts }) => `${type} ${String(facts["code"])}`);

  it("refuses a wrong, a used and an expired token, issues nothing, and notes each in the journal", async () => {
    const used = await newToken();
    await enter(used);
    const [version, id, , fingerprint] = (await newToken()).split(".");
    const wrong = [version, id, Buffer.alloc(32, 7).toString("base64url"), fingerprint].join(".");
    const entries = await notedDuring(async () => {
      await assert.rejects(enter(wrong), { status: "PERMISSION_DENIED", message: /^MESH_TOKEN_UNKNOWN: / });
      await assert.rejects(enter(used), { status: "PERMISSION_DENIED", message: /^MESH_TOKEN_USED: the token has been used with another key/ });
      await assert.rejects(enter(longAgo.token), { status: "PERMISSION_DENIED", message: /^MESH_TOKEN_EXPIRED: / });
    });
    assert.deepEqual(told(entries), ["join-refused MESH_TOKEN_UNKNOWN", "join-refused MESH_TOKEN_USED", "join-refused MESH_TOKEN_EXPIRED"]);
    for (const { facts } of entries) assert.match(String(facts["peer"]), /^127\.0\.0\.1:\d+$/);
  });

  it("refuses a certificate for somebody else's identity", async () => {
    const service = serviceAs(await enter(await newToken()));
    const entries = await notedDuring(async () => {
      await assert.rejects(service.signWorkload("shop/db", newCsr()), { status: "PERMISSION_DENIED", message: /^MESH_GROUP_NOT_GRANTED: / });
    });
    assert.deepEqual(told(entries), ["certificate-refused MESH_GROUP_NOT_GRANTED"]);
    assert.equal(entries[0]?.facts["group"], "shop/db");
  });

  it("refuses the certificate that a host had before its present one, for whatever it is used", async () => {
    const stale = await enter(await newToken());
    const key = generatePrivateKey();
    const renewed = await serviceAs(stale).renewHost(buildCsr(key));
    const present = hostIdentityOf({ ...stale, chain: renewed.certificateChain, bundle: renewed.trustBundle }, privateKeyPem(key), renewed.trustBundle);
    await serviceAs(present).signWorkload("shop/web", newCsr());
    const mismatch = { status: "PERMISSION_DENIED", message: /^MESH_HOST_KEY_MISMATCH: / } as const;
    const service = serviceAs(stale);
    const entries = await notedDuring(async () => {
      await assert.rejects(service.signWorkload("shop/web", newCsr()), mismatch);
      await assert.rejects(service.renewHost(newCsr()), mismatch);
      await assert.rejects(service.report(create(ReportRequestSchema, { hostName: "vm" })), mismatch);
      await assert.rejects(firstAnswer(linkAs(stale)), mismatch);
    });
    assert.deepEqual(told(entries), [
      "certificate-refused MESH_HOST_KEY_MISMATCH",
      "certificate-refused MESH_HOST_KEY_MISMATCH",
      // An agent reports and connects for ever: that is noted once an hour.
      "caller-refused MESH_HOST_KEY_MISMATCH",
    ]);
    for (const { facts } of entries) assert.equal(facts["hostId"], stale.hostId);
  });

  it("refuses an expired certificate, a foreign one, a workload's, and a call without any, and says which it was", async () => {
    const host = await enter(await newToken());
    const key = generatePrivateKey();
    const chain = (await serviceAs(host).signWorkload("shop/web", buildCsr(key))).certificateChain.map((der) => encodePem("CERTIFICATE", der)).join("");
    const workload = { ...host, certificate: { ...host.certificate, chain, privateKey: privateKeyPem(key) } };
    const foreign = createTestAuthority().mint(`spiffe://mesh.internal/host/${host.hostId}`);
    const impostor = { ...host, certificate: { ...host.certificate, chain: foreign.certificateChain, privateKey: foreign.privateKey } };
    const nobody = tasks.own(connectGrpc({ target: { host: "127.0.0.1", port: control.port() }, tls: () => ({ roots: host.roots, checkServer: () => undefined }) }));
    const entries = await notedDuring(async () => {
      await assert.rejects(serviceAs(longAgo.host).renewHost(newCsr()), { status: "UNAUTHENTICATED", message: /CERT_HAS_EXPIRED/ });
      await assert.rejects(serviceAs(impostor).renewHost(newCsr()), { status: "UNAUTHENTICATED", message: /does not verify: UNABLE_TO/ });
      await assert.rejects(serviceAs(workload).renewHost(newCsr()), { status: "PERMISSION_DENIED", message: /\/ns\/shop\/sa\/web is no host of mesh\.internal/ });
      await assert.rejects(agentService(nobody).renewHost(newCsr()), { status: "UNAUTHENTICATED", message: /^MESH_CALLER_ANONYMOUS: / });
      await assert.rejects(serviceAs(workload).report(create(ReportRequestSchema, {})), { status: "PERMISSION_DENIED" });
    });
    assert.deepEqual(told(entries), [
      "caller-refused MESH_CALLER_NOT_VERIFIED",
      "caller-refused MESH_CALLER_NOT_VERIFIED",
      "caller-refused MESH_CALLER_NOT_A_HOST",
      "caller-refused MESH_CALLER_ANONYMOUS",
    ]);
    assert.equal(entries[0]?.facts["message"], "the client certificate does not verify: CERT_HAS_EXPIRED");
    assert.equal(entries[0].facts["certificate"], `URI:spiffe://mesh.internal/host/${longAgo.host.hostId}`);
    assert.match(String(entries[1]?.facts["message"]), /UNABLE_TO/);
  });

  it("shows the journal to people", async () => {
    const table = await control.ironmesh("get", "journal", "--last", "2");
    const lines = table.split("\n");
    assert.equal(lines.length, 3);
    assert.match(lines[0] ?? "", /^TIME +WRITER +EVENT +FACTS$/);
    assert.match(lines[2] ?? "", /^\d{4}-\d\d-\d\dT\S+ +control-plane-1#\d+ +\S+ +\S+=/);
    assert.equal((JSON.parse(await control.ironmesh("get", "journal", "--last", "1", "-o", "json")) as unknown[]).length, 1);
  });

  it("shows what it does not take of a host's report, in the listing, as JSON and in the log", async () => {
    const host = await enter(await newToken("--address-range", "10.1.0.0/16"));
    const service = serviceAs(host);
    const report = (name: string, group: string, address: string): MessageInitShape<typeof ReportRequestSchema> => ({
      hostName: "vm-far",
      workloads: [{ name, group, addresses: [address], outboundPort: 15_101 }],
    });
    const issuesOf = async (): Promise<readonly string[] | undefined> =>
      (JSON.parse(await control.ironmesh("get", "hosts", "-o", "json")) as HostView[]).find(({ id }) => id === host.hostId)?.issues;

    // The grant of a host that has just joined may take a moment to be known everywhere.
    await waitUntil(async () => {
      await service.report(create(ReportRequestSchema, report("web", "shop/web", "10.1.0.1")));
      return (await issuesOf())?.length === 0;
    }, { what: "a sound report to be taken" });
    const logged = control.log.length;

    await service.report(create(ReportRequestSchema, report("web", "shop/web", "10.2.0.1")));
    assert.deepEqual(await issuesOf(), ["workload web is not taken: the address 10.2.0.1 is outside of the host's grant"]);
    await service.report(create(ReportRequestSchema, report("db", "shop/db", "10.1.0.1")));
    await service.report(create(ReportRequestSchema, report("db", "shop/db", "10.1.0.1")));
    assert.deepEqual(await issuesOf(), ["workload db is not taken: the host was not granted the group shop/db"]);
    assert.match(await control.ironmesh("get", "hosts"), /ISSUES\n(.*\n)*.* 1\n(.*\n)*vm-far \(\S+\): workload db is not taken: the host was not granted the group shop\/db$/);
    assert.deepEqual(
      control.log.slice(logged).filter((line) => line.includes(host.hostId)).map((line) => /"reason":"([^"]*)"/.exec(line)?.[1]),
      ["the address 10.2.0.1 is outside of the host's grant", "the host was not granted the group shop/db"],
    );
    await service.report(create(ReportRequestSchema, report("web", "shop/web", "10.1.0.1")));
    assert.deepEqual(await issuesOf(), []);
  });
});

function newCsr(): Uint8Array {
  return buildCsr(generatePrivateKey());
}

/** The first answer on a stream of configuration. */
async function firstAnswer(client: GrpcClient): Promise<unknown> {
  const stream = await client.stream(DELTA_ADS_PATH);
  await stream.write(toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, { typeUrl: TYPE_URLS.cluster })));
  return stream.messages.next();
}

/** A host whose certificate has expired, and a token of two days ago. */
async function makeLongAgo(stateDir: string): Promise<LongAgo> {
  const store = await openSqliteStore({ path: join(stateDir, "state.db") });
  const clock = createManualClock(Date.now() - 40 * DAY_MS);
  const config = caConfigSchema.parse({ keyFile: join(stateDir, "ca.key") });
  const authority = await createCertificateAuthority({ store, clock, config, logger: silentLogger, resolveGroup: () => undefined });
  const key = generatePrivateKey();
  const { token } = await authority.createToken({ groups: ["shop/web"] });
  const joined = await authority.join({ token: token.revealText(), csr: buildCsr(key), hostName: "old" }, { address: "" });
  clock.advance(38 * DAY_MS);
  const unused = await authority.createToken({ groups: ["shop/web"] });
  await authority.close();
  await store.close();
  const { roots, trustDomain } = joined.trustBundle;
  const host = hostIdentityOf({ hostId: joined.hostId, trustDomain, chain: joined.certificate.chain, bundle: roots }, privateKeyPem(key), roots);
  return { host, token: unused.token.revealText() };
}
