import assert from "node:assert/strict";
import { callerOf, callersInParallel, tcpCallersInParallel } from "../support/mesh-callers.ts";
import { FAMILIES, identityOf, type MeshScenario, ofFamily, startMeshScenario, UID, VIP } from "../support/mesh-scenario.ts";
import { waitUntil } from "../support/wait-until.ts";

describe("data plane on real hosts", function () {
  this.timeout(180_000);
  let mesh: MeshScenario;

  before(async () => {
    mesh = await startMeshScenario();
  });
  after(() => mesh.close());
  afterEach(() => {
    assert.deepEqual([mesh.proxies.a.nacks, mesh.proxies.b.nacks], [[], []]);
  });

  it("reaches an endpoint by its other address where the first does not answer", async () => {
    const [answer] = await mesh.http(mesh.hosts.a, { uid: UID.web, mode: "http1", host: VIP.reviews[0], port: 8080, authority: "reviews-two" });
    assert.deepEqual([answer?.status, answer?.body?.peer], [200, "::6"]);
    assert.equal(callerOf(answer ?? {}), identityOf("web"));
  });

  for (const family of FAMILIES) {
    const vip = (service: keyof typeof VIP): string => ofFamily(VIP[service], family);

    describe(`over IP${family}`, () => {
      it("carries HTTP/1.1 and HTTP/2 over mutual TLS", async () => {
        const authority = family === "v4" ? "reviews" : "reviews-six";
        const [first] = await mesh.http(mesh.hosts.a, { uid: UID.web, mode: "http1", host: vip("reviews"), port: 8080, authority });
        assert.equal(first?.status, 200);
        assert.equal(first?.body?.name, "reviews");
        assert.equal(callerOf(first), identityOf("web"));
        // The address that the proxy delivers from.
        assert.match(first?.body?.peer ?? "", family === "v4" ? /127\.0\.0\.6$/ : /^::6$/);
        const [second] = await mesh.http(mesh.hosts.a, { uid: UID.web, mode: "http2", host: vip("reviews"), port: 8081, authority: "grpc" });
        assert.equal(second?.body?.version, "2.0");
        assert.equal(callerOf(second ?? {}), identityOf("web"));
      });

      it("carries TCP whose server speaks first", async () => {
        const answer = await mesh.tcp(mesh.hosts.a, { uid: UID.web, mode: "tcp", host: vip("db"), port: 5432 });
        assert.equal(answer.received, "db says hello\nping\n");
      });

      it("gives each of many parallel and pooled requests and TCP connections its own workload's identity", async () => {
        const own = { web: [identityOf("web")], api: [identityOf("api")] };
        const [http, tcp] = await Promise.all([callersInParallel(mesh, family), tcpCallersInParallel(mesh, family)]);
        assert.deepEqual(http, own);
        assert.deepEqual(tcp, own);
      });

      it("shows on each of many parallel inbound connections the certificate of the port's own workload", async () => {
        const { privateKey, certificateChain } = mesh.mint(identityOf("web"));
        const many = { uid: UID.stranger, host: mesh.hosts.b.addresses[family], requests: 40, parallel: 8, tls: { cert: certificateChain, key: privateKey.revealText() } };
        const ports = { 8080: "reviews", 8081: "reviews", 5432: "db", 8082: "reviews", 5433: "db" } as const;
        const shown = await Promise.all(Object.keys(ports).map(async (port) => [port, [...new Set(await mesh.serverNames(mesh.hosts.c, { ...many, port: Number(port) }))]]));
        assert.deepEqual(Object.fromEntries(shown), Object.fromEntries(Object.entries(ports).map(([port, account]) => [port, [`URI:${identityOf(account)}`]])));
      });

      it("answers 404 for a host that nobody owns, and closes a virtual address that nobody owns", async () => {
        const [unknown] = await mesh.http(mesh.hosts.a, { uid: UID.web, mode: "http1", host: vip("reviews"), port: 8080, authority: "unknown" });
        assert.equal(unknown?.status, 404);
        assert.equal(unknown?.headers?.["x-ironmesh-reason"], "unknown-host");
        for (const port of [5432, 7777]) {
          const closed = await mesh.tcp(mesh.hosts.a, { uid: UID.web, mode: "tcp", host: vip("unowned"), port });
          assert.equal(closed.error, "ECLOSED", `port ${port}`);
          assert.equal(closed.received, "");
        }
      });

      it("lets traffic to the world outside pass as it is, also on ports that the mesh uses", async () => {
        const host = mesh.hosts.c.addresses[family];
        const [answer] = await mesh.http(mesh.hosts.a, { uid: UID.web, mode: "http1", host, port: 8080, authority: "anything" });
        assert.equal(answer?.body?.name, "outside");
        const tcp = await mesh.tcp(mesh.hosts.a, { uid: UID.web, mode: "tcp", host, port: 7000 });
        assert.equal(tcp.received, "outside says hello\nping\n");
      });

      it("refuses plain connections to a STRICT port, before the application sees them", async () => {
        const { b, c } = mesh.hosts;
        const before = mesh.applications.db.output();
        const tcp = await mesh.tcp(c, { uid: UID.stranger, mode: "tcp", host: b.addresses[family], port: 5432 });
        assert.equal(tcp.error === undefined, false);
        assert.equal(tcp.received, "");
        const [http] = await mesh.http(c, { uid: UID.stranger, mode: "http1", host: b.addresses[family], port: 8080 });
        assert.equal(http?.status, undefined);
        assert.equal(mesh.applications.db.output(), before);
      });

      it("takes plain connections and mutual TLS on a PERMISSIVE port", async () => {
        const { a, b, c } = mesh.hosts;
        const [plain] = await mesh.http(c, { uid: UID.stranger, mode: "http1", host: b.addresses[family], port: 8082 });
        assert.equal(plain?.status, 200);
        assert.equal(callerOf(plain ?? {}), "nobody");
        const tcp = await mesh.tcp(c, { uid: UID.stranger, mode: "tcp", host: b.addresses[family], port: 5433 });
        assert.equal(tcp.received, "db says hello\nping\n");
        const [meshed] = await mesh.http(a, { uid: UID.web, mode: "http1", host: vip("legacy"), port: 8082, authority: "legacy" });
        assert.equal(callerOf(meshed ?? {}), identityOf("web"));
      });

      it("refuses a server whose identity is not the service's, and any server of a service without identities", async () => {
        for (const authority of ["impostor", "nobody"]) {
          const [answer] = await mesh.http(mesh.hosts.a, { uid: UID.web, mode: "http1", host: vip("impostor"), port: 8080, authority });
          assert.equal(answer?.status, 503, authority);
        }
      });

      it("connects two workloads of one host through policy and mutual TLS, and a workload with itself", async () => {
        for (const caller of ["web", "api"] as const) {
          const [answer] = await mesh.http(mesh.hosts.a, { uid: UID[caller], mode: "http1", host: vip("api"), port: 8090, authority: "api" });
          assert.equal(answer?.status, 200);
          assert.equal(callerOf(answer), identityOf(caller));
        }
      });

      it("lends nobody an identity who dials a capture port", async () => {
        const { a, c } = mesh.hosts;
        const loopback = family === "v4" ? "127.0.0.1" : "::1";
        for (const [from, host] of [[a, loopback], [a, a.addresses[family]], [c, a.addresses[family]]] as const) {
          for (const port of [15_101, 15_102, 15_006]) {
            const [answer] = await mesh.http(from, { uid: UID.stranger, mode: "http1", host, port, authority: "reviews" });
            assert.equal(answer?.status, undefined, `${host}:${port} answered`);
          }
        }
      });

      it("refuses the certificate of a host, of a stranger's root, and none at all", async () => {
        const { b, c } = mesh.hosts;
        const before = mesh.applications.db.output();
        const host = mesh.mint("spiffe://mesh.internal/host/a");
        const workload = mesh.mint(identityOf("web"));
        const asTls = (identity: typeof host): { cert: string; key: string } => ({ cert: identity.certificateChain, key: identity.privateKey.revealText() });
        for (const tls of [asTls(host), {}]) {
          const [http] = await mesh.http(c, { uid: UID.stranger, mode: "http1", host: b.addresses[family], port: 8080, tls });
          assert.equal(http?.status, undefined);
          const tcp = await mesh.tcp(c, { uid: UID.stranger, mode: "tcp", host: b.addresses[family], port: 5432, tls });
          assert.equal(tcp.received, "");
        }
        assert.equal(mesh.applications.db.output(), before, "the application saw a connection of somebody who was refused");
        const [accepted] = await mesh.http(c, { uid: UID.stranger, mode: "http1", host: b.addresses[family], port: 8080, tls: asTls(workload) });
        assert.equal(accepted?.status, 200);
      });
    });
  }

  it("shows all identities of a connection in the access log", async () => {
    await mesh.tcp(mesh.hosts.a, { uid: UID.api, mode: "tcp", host: VIP.db[0], port: 5432 });
    const line = await waitUntil(() => mesh.proxies.b.accessLog().find((entry) => entry["downstream_peer_identity"] === identityOf("api")), { what: "the server's line" });
    assert.equal(line?.["downstream_local_identity"], identityOf("db"));
    assert.equal(line?.["filter_chain"], "db|5432|mtls");
    const client = await waitUntil(
      () => mesh.proxies.a.accessLog().find((entry) => entry["workload"] === "default/api" && entry["upstream_cluster"] === "outbound|5432||db.default.svc.mesh.internal"),
      { what: "the client's line" },
    );
    assert.equal(client?.["upstream_local_identity"], identityOf("api"));
    assert.equal(client?.["upstream_peer_identity"], identityOf("db"));
  });

  // In a group of its own, so that it comes after those of the families.
  describe("looking back", () => {
    it("wrote one line for each request and for each other connection, of whatever chain", async () => {
      const [rounds, sent] = [3, "ping\n".length];
      const startedAt = Date.now();
      for (let round = 0; round < rounds; round += 1) {
        assert.equal((await mesh.tcp(mesh.hosts.a, { uid: UID.web, mode: "tcp", host: VIP.db[0], port: 5432 })).received, "db says hello\nping\n");
        await mesh.tcp(mesh.hosts.a, { uid: UID.web, mode: "tcp", host: VIP.unowned[0], port: 5432 });
        await mesh.http(mesh.hosts.a, { uid: UID.web, mode: "http1", host: VIP.reviews[0], port: 8080, authority: "reviews" });
      }
      // The log is written late, but in order.
      await mesh.tcp(mesh.hosts.a, { uid: UID.api, mode: "tcp", host: VIP.unowned[1], port: 5432 });
      const lines = await waitUntil(() => {
        const written = mesh.proxies.a.accessLog().filter((line) => Date.parse(String(line["start_time"])) >= startedAt);
        return written.some((line) => line["workload"] === "default/api") ? written : undefined;
      }, { what: "the last line" });
      const own = (lines ?? []).filter((line) => line["workload"] === "default/web");
      const shown = own.map((line) => ["filter_chain", "method", "bytes_received", "upstream_cluster", "response_flags"].map((field) => line[field]));
      const each = [
        ["http|8080", "GET", 0, "outbound|8080||reviews.default.svc.mesh.internal", "-"],
        ["tcp|5432|db.default.svc.mesh.internal", null, sent, "outbound|5432||db.default.svc.mesh.internal", "-"],
        ["unknown-address|5432", null, 0, "BlackHoleCluster", "UH"],
      ];
      assert.deepEqual(shown.toSorted((left, right) => (String(left[0]) < String(right[0]) ? -1 : 1)), each.flatMap((line) => Array.from({ length: rounds }, () => line)));
    });

    it("answered on every connection under the identity of the port's own workload", async () => {
      const lines = await waitUntil(() => {
        const meshed = mesh.proxies.b.accessLog().filter((line) => typeof line["downstream_local_identity"] === "string");
        return meshed.length > 400 ? meshed : undefined;
      }, { what: "the log of more than 400 connections" });
      for (const line of lines ?? []) assert.equal(line["downstream_local_identity"], identityOf(String(line["filter_chain"]).split("|")[0] ?? ""));
    });
  });
});
