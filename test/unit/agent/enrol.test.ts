import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer as createTlsServer } from "node:tls";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { agentService } from "../../../agent/agent-service.ts";
import { connectControlPlane } from "../../../agent/control-plane-link.ts";
import { enrol } from "../../../agent/enrol.ts";
import { holdHostCertificate } from "../../../agent/host-certificate.ts";
import { loadHostIdentity } from "../../../agent/host-identity.ts";
import { holdWorkloadCertificates } from "../../../agent/workload-certificates.ts";
import { systemClock } from "../../../base/clock.ts";
import { CodedError } from "../../../base/coded-error.ts";
import { serveGrpc } from "../../../base/grpc/server.ts";
import type { BoundGrpcServer } from "../../../base/grpc/server.ts";
import { GrpcError } from "../../../base/grpc/status.ts";
import { silentLogger } from "../../../base/logger.ts";
import { TaskGroup } from "../../../base/task-group.ts";
import { encodePem } from "../../../base/x509/pem.ts";
import { authorityHandlers } from "../../../ca/rpc.ts";
import { formatSpiffeId } from "../../../model/identity.ts";
import { openCaFixture } from "../../support/ca-fixture.ts";
import type { CaFixture } from "../../support/ca-fixture.ts";
import { waitUntil } from "../../support/wait-until.ts";

const JOIN = "/ironmesh.agent.v1.AgentService/Join";

describe("enrolment", () => {
  let fixture: CaFixture;
  let tasks: TaskGroup;
  let stateDir: string;
  let port = 0;
  let losesReplies = false;
  let joinCalls = 0;

  const serve = async (): Promise<BoundGrpcServer> => {
    const certificate = await fixture.ca.controlPlaneCertificate();
    const { roots } = await fixture.ca.trustBundle();
    const handlers = authorityHandlers(fixture.ca);
    const original = handlers[JOIN];
    assert.ok(original);
    return serveGrpc({
      listen: { host: "127.0.0.1", port: 0 },
      logger: silentLogger,
      tls: {
        certificateChain: certificate.chain.map((der) => encodePem("CERTIFICATE", der)).join(""),
        privateKey: certificate.privateKeyPem,
        clientRoots: roots.map((der) => encodePem("CERTIFICATE", der)),
        clientCertificate: "optional",
      },
      handlers: {
        ...handlers,
        [JOIN]: {
          kind: "unary",
          async handle(request, call) {
            joinCalls += 1;
            const reply = await original.handle(request, call);
            if (losesReplies) throw new GrpcError("UNAVAILABLE", "the reply is lost");
            return reply;
          },
        },
      },
    });
  };
  beforeEach(async () => {
    tasks = new TaskGroup();
    fixture = await openFixture();
    tasks.defer(() => fixture.close());
    stateDir = mkdtempSync(join(tmpdir(), "ironmesh-enrol-"));
    tasks.defer(() => rmSync(stateDir, { recursive: true }));
    const server = await serve();
    tasks.defer(() => server.close(0));
    port = (server.address as { port: number }).port;
    losesReplies = false;
    joinCalls = 0;
  });
  afterEach(() => tasks.close());

  const newToken = async (): Promise<string> => (await fixture.ca.createToken({ groups: ["shop/web"] })).token.revealText();
  const joinWith = (token: string, at = port) =>
    enrol({ stateDir, controlPlane: [{ host: "127.0.0.1", port: at }], hostName: "h", environment: { IRONMESH_TOKEN: token }, logger: silentLogger });

  it("gives the host an identity that is whole on disk", async () => {
    const identity = await joinWith(await newToken());
    const stored = await loadHostIdentity(stateDir, silentLogger);
    assert.deepEqual(stored?.hostId, identity.hostId);
    assert.equal(formatSpiffeId(identity.certificate.spiffeId), `spiffe://mesh.internal/host/${identity.hostId}`);
    assert.equal(existsSync(join(stateDir, "join-key.json")), false);
  });

  it("survives a lost reply: the same token and key give the same host", async () => {
    const token = await newToken();
    losesReplies = true;
    await assert.rejects(joinWith(token), /the reply is lost/);
    const key = readFileSync(join(stateDir, "join-key.json"), "utf8");
    losesReplies = false;
    const identity = await joinWith(token);
    assert.equal(joinCalls, 2);
    const { privateKey } = JSON.parse(key.split("\n")[1] ?? "") as { privateKey: string };
    assert.ok(privateKey === identity.certificate.privateKey.revealText(), "another key was used");
  });

  it("is refused with a used token and another key, and with a token that is none", async () => {
    const token = await newToken();
    await joinWith(token);
    rmSync(join(stateDir, "host.json"));
    await assert.rejects(joinWith(token), /MESH_TOKEN/);
    await assert.rejects(joinWith("im1.nonsense"), (failure: unknown) => failure instanceof CodedError && failure.code === "MESH_TOKEN_UNUSABLE" && !failure.message.includes("nonsense"));
    await assert.rejects(joinWith(""), (failure: unknown) => failure instanceof CodedError && failure.code === "MESH_TOKEN_MISSING");
  });

  it("shows its token to nobody but the root that the token names", async () => {
    const stranger = await openFixture();
    tasks.defer(() => stranger.close());
    const foreign = (await stranger.ca.createToken({ groups: ["shop/web"] })).token.revealText();
    await assert.rejects(joinWith(foreign), (failure: unknown) => failure instanceof CodedError && failure.code === "MESH_SERVER_NOT_TRUSTED");
    assert.equal(joinCalls, 0);

    // Somebody in the middle presents the right root behind a leaf that it did not sign.
    const other = await stranger.ca.controlPlaneCertificate();
    const { roots } = await fixture.ca.trustBundle();
    let heard = "";
    const impostor = createTlsServer({ key: other.privateKeyPem.revealText(), cert: [other.chain[0] ?? new Uint8Array(), ...roots].map((der) => encodePem("CERTIFICATE", der)).join(""), ALPNProtocols: ["h2"] }, (socket) => {
      socket.on("data", (chunk: Buffer) => (heard += chunk.toString("latin1")));
      socket.on("error", () => undefined);
    });
    await new Promise<void>((resolve) => impostor.listen(0, "127.0.0.1", resolve));
    tasks.defer(() => void impostor.close());
    const token = await newToken();
    await assert.rejects(joinWith(token, (impostor.address() as AddressInfo).port), (failure: unknown) => failure instanceof CodedError);
    assert.equal(heard.includes(token), false);
  });

  it("asks for workload certificates, keeps them on disk, and asks anew for a damaged one", async () => {
    const identity = await joinWith(await newToken());
    const link = tasks.own(connectControlPlane([{ host: "127.0.0.1", port: 1 }, { host: "127.0.0.1", port }], () => identity));
    const hold = () =>
      holdWorkloadCertificates({ stateDir, groups: ["shop/web"], identity: () => identity, service: agentService(link), clock: systemClock, logger: silentLogger, onCertificate: () => undefined });
    const first = await hold();
    const serial = await waitUntil(() => first.get("shop/web")?.serial, { what: "a certificate, by way of the second address" });
    await first.close();
    const again = await hold();
    assert.equal(again.get("shop/web")?.serial, serial);
    await again.close();
    const file = join(stateDir, "workloads", readdirSync(join(stateDir, "workloads"))[0] ?? "");
    writeFileSync(file, readFileSync(file, "utf8").replace("BEGIN", "BEGUN"));
    const repaired = await hold();
    assert.equal(repaired.get("shop/web"), undefined);
    assert.notEqual(await waitUntil(() => repaired.get("shop/web")?.serial, { what: "another certificate" }), serial);
    await repaired.close();
  });

  it("gets a certificate at once for a group whose identity changed, and shows the one of before beside it", async () => {
    const identity = await joinWith(await newToken());
    const link = tasks.own(connectControlPlane([{ host: "127.0.0.1", port }], () => identity));
    const taken: string[] = [];
    const held = tasks.own(
      await holdWorkloadCertificates({
        stateDir,
        groups: ["shop/web"],
        identity: () => identity,
        service: agentService(link),
        clock: systemClock,
        logger: silentLogger,
        onCertificate: () => void taken.push(held.all().map(({ spiffeId }) => spiffeId.path).join(" ")),
      }),
    );
    await waitUntil(() => held.missing().length === 0, { what: "the first certificate" });
    held.expect(new Map([["shop/web", "spiffe://mesh.internal/ns/shop/sa/web-account"]]));
    assert.deepEqual(held.missing(), []);

    // What hosts are told and what the authority signs for change one after the other.
    held.expect(new Map([["shop/web", "spiffe://mesh.internal/ns/shop/sa/web2"]]));
    assert.deepEqual(held.missing(), ["shop/web"], "it counts as missing until it is there");
    fixture.groups.set("shop/web", { namespace: "shop", serviceAccount: "web2" });
    await waitUntil(() => held.missing().length === 0, { what: "a certificate for the new identity" });
    assert.equal(taken.at(-1), "/ns/shop/sa/web-account /ns/shop/sa/web2");
  });

  it("uses what was signed also where the disk takes nothing, and writes it as soon as it does", async () => {
    const identity = await joinWith(await newToken());
    const link = tasks.own(connectControlPlane([{ host: "127.0.0.1", port }], () => identity));
    const signed: string[] = [];
    const service = agentService(link);
    let nowMs = Date.now();
    const clock = { ...systemClock, now: () => nowMs };
    const held = tasks.own(
      await holdWorkloadCertificates({
        stateDir,
        groups: ["shop/web"],
        identity: () => identity,
        service: {
          signWorkload(group, csr) {
            signed.push(group);
            return service.signWorkload(group, csr);
          },
        },
        clock,
        logger: silentLogger,
        onCertificate: () => undefined,
      }),
    );
    await waitUntil(() => held.get("shop/web"), { what: "the first certificate" });
    const first = held.get("shop/web");
    assert.ok(first);
    const folder = join(stateDir, "workloads");
    const file = join(folder, (await waitUntil(() => readdirSync(folder).find((name) => name.endsWith(".json")), { what: "its file" })) ?? "");
    const host = join(stateDir, "host.json");
    for (const path of [file, host]) {
      rmSync(path);
      mkdirSync(join(path, "in the way"), { recursive: true });
    }

    nowMs = (first.notBeforeMs + first.notAfterMs) / 2 + 1;
    held.poke();
    await waitUntil(() => held.get("shop/web")?.serial !== first.serial, { what: "the renewed certificate to be in use" });
    nowMs = (identity.certificate.notBeforeMs + identity.certificate.notAfterMs) / 2 + 1;
    const ofHost = tasks.own(holdHostCertificate({ initial: identity, stateDir, service, rejoin: () => Promise.reject(new Error("not needed")), onChange: () => undefined, clock, logger: silentLogger }));
    await waitUntil(() => ofHost.current().certificate.serial !== identity.certificate.serial, { what: "the host's renewed certificate to be in use" });
    assert.ok(statSync(file).isDirectory());

    for (const path of [file, host]) rmSync(path, { recursive: true });
    await waitUntil(() => readFileSync(file, "utf8").includes(JSON.stringify(held.get("shop/web")?.chain).slice(1, -1)), { what: "the certificate on disk" });
    await waitUntil(async () => (await loadHostIdentity(stateDir, silentLogger))?.certificate.serial === ofHost.current().certificate.serial, { what: "the host's on disk" });
    assert.ok(signed.length <= 3, `only the writing is repeated, it was signed ${signed.length} times`);
  });

  it("goes on with a renewed certificate and new roots, and never without roots", async () => {
    const identity = await joinWith(await newToken());
    const seen: string[] = [];
    let now = (identity.certificate.notBeforeMs + identity.certificate.notAfterMs) / 2 + 1;
    const link = tasks.own(connectControlPlane([{ host: "127.0.0.1", port }], () => identity));
    const held = tasks.own(
      holdHostCertificate({
        initial: identity,
        stateDir,
        service: agentService(link),
        rejoin: () => Promise.reject(new Error("not needed")),
        onChange(next) {
          seen.push(next.certificate.serial);
          // Certificates count in seconds: one of the same second would be due again at once.
          now = next.certificate.notBeforeMs;
        },
        clock: { ...systemClock, now: () => now },
        logger: silentLogger,
      }),
    );
    await waitUntil(() => seen.length > 0, { what: "the renewal" });
    assert.notEqual(held.current().certificate.serial, identity.certificate.serial);
    assert.equal(held.current().hostId, identity.hostId);
    await held.updateRoots([]);
    assert.equal(held.current().roots.length, identity.roots.length);
    await held.close();
    assert.equal((await loadHostIdentity(stateDir, silentLogger))?.certificate.serial, held.current().certificate.serial);
    assert.equal(seen.length, 1);
  });
});

/** TLS itself goes by the machine's time, so that the authority has to as well. */
async function openFixture(): Promise<CaFixture> {
  const fixture = await openCaFixture();
  fixture.clock.advance(Date.now() - fixture.clock.now());
  return fixture;
}
