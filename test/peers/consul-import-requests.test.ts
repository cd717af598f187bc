import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseDocuments } from "../../api/document.ts";
import { ConsulAgent, freePorts } from "../support/consul-agent.ts";
import { consulIdentity, startConsulSidecar } from "../support/consul-sidecar.ts";
import { consulPath } from "../support/consul.ts";
import { startInboundEnvoy } from "../support/inbound-envoy.ts";
import { runImport } from "../support/run-import.ts";
import type { StaticEnvoy } from "../support/static-envoy.ts";
import { createTestAuthority } from "../support/test-authority.ts";
import { createTlsCaller, type RawAnswer, type RawRequest, type TlsCaller } from "../support/tls-caller.ts";

const MANAGEMENT_TOKEN = "11111111-2222-3333-4444-555555555555";
const path = consulPath();

const allow = (HTTP: object, more: object = {}): object => ({ Action: "allow", HTTP, ...more });
const deny = (HTTP: object, more: object = {}): object => ({ Action: "deny", HTTP, ...more });
const JWT = { Providers: [{ Name: "tokens", VerifyClaims: [{ Path: ["role"], Value: "shop" }] }] };
const header = (match: object): object => ({ PathExact: "/h", Header: [{ Name: "x-team", ...match }] });

/** What a policy of the mesh can say: both must give the same answers. By the source. */
const SAID: Readonly<Record<string, readonly object[]>> = {
  exact: [allow({ PathExact: "/p" })],
  prefix: [allow({ PathPrefix: "/p" })],
  slash: [allow({ PathPrefix: "/p/" })],
  all: [allow({ PathPrefix: "/" })],
  none: [deny({ PathPrefix: "/" })],
  methods: [allow({ Methods: ["GET", "HEAD"] })],
  both: [allow({ PathPrefix: "/p/", Methods: ["get", "DELETE"] })],
  first: [deny({ PathExact: "/p/secret" }), allow({ PathPrefix: "/p/" }), deny({ Methods: ["DELETE"] }), allow({ PathExact: "/h" })],
  second: [allow({ PathExact: "/p/secret" }), deny({ PathPrefix: "/p" }), allow({ Methods: ["GET", "POST"] })],
  nested: [deny({ PathPrefix: "/p/a/", Methods: ["POST"] }), allow({ PathPrefix: "/p/a" }), deny({ PathPrefix: "/p/" }), allow({ PathPrefix: "/" })],
  query: [allow({ PathExact: "/h" }), deny({ PathExact: "/p?x=1" })],
};

/** What it cannot: it may let in less, and never more. */
const UNSAID: Readonly<Record<string, readonly object[]>> = {
  regex: [allow({ PathRegex: "/p/[a-z]+" })],
  "not-regex": [deny({ PathRegex: "/p/s.*" }), allow({ PathPrefix: "/p" })],
  "not-some": [deny({ PathRegex: "/p/a?.*" }), deny({ PathRegex: "/h|/H" }), allow({ PathPrefix: "/" })],
  "not-begin": [deny({ PathRegex: "/p/a?.*" }), allow({ PathPrefix: "/" })],
  present: [allow(header({ Present: true }))],
  absent: [allow(header({ Present: true, Invert: true }))],
  value: [allow(header({ Exact: "a1" }))],
  "any-case": [allow(header({ Exact: "A1", IgnoreCase: true }))],
  begin: [allow(header({ Prefix: "a" }))],
  "any-case-begin": [allow(header({ Prefix: "A", IgnoreCase: true }))],
  end: [allow(header({ Suffix: "1" }))],
  middle: [allow(header({ Contains: "b" }))],
  pattern: [allow(header({ Regex: "[a-z][0-9]" }))],
  "not-value": [allow(header({ Exact: "a1", Invert: true }))],
  "not-present": [deny(header({ Present: true })), allow({ PathPrefix: "/" })],
  "deny-value": [deny(header({ Exact: "a1" })), allow({ PathExact: "/h" }), allow({ PathPrefix: "/p" })],
  "deny-inverted": [deny(header({ Prefix: "a", Invert: true })), allow({ PathPrefix: "/" })],
  token: [allow({ PathExact: "/p" }, { JWT }), allow({ PathPrefix: "/p" })],
  "not-token": [deny({ PathExact: "/p" }, { JWT }), allow({ PathPrefix: "/p" })],
  "header-token": [allow({ PathPrefix: "/p/", Methods: ["GET"] }, { JWT }), allow(header({ Present: true }), { JWT }), allow({ PathPrefix: "/" })],
  "then-all": [allow(header({ Exact: "a1" })), deny({ PathExact: "/h" }), allow({ PathPrefix: "/" })],
};

const PERMISSIONS = { ...SAID, ...UNSAID };
const WEB = Object.entries(PERMISSIONS).map(([Name, Permissions]) => ({ Name, Permissions }));

const KEYS = generateKeyPairSync("ec", { namedCurve: "P-256" });
const JWKS = { keys: [{ ...KEYS.publicKey.export({ format: "jwk" }), kid: "1", alg: "ES256" }] };
const TOKEN = token({ role: "shop" });

function token(claims: object): string {
  const text = `${base64Url({ alg: "ES256", kid: "1" })}.${base64Url({ iss: "test", ...claims })}`;
  return `${text}.${sign("sha256", Buffer.from(text), { key: KEYS.privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
}

function base64Url(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

const ENTRIES = [
  { Kind: "jwt-provider", Name: "tokens", Issuer: "test", JSONWebKeySet: { Local: { JWKS: Buffer.from(JSON.stringify(JWKS)).toString("base64") } } },
  { Kind: "proxy-defaults", Name: "global", Config: { protocol: "http" } },
  {
    Kind: "service-intentions", Name: "web", Sources: [
      ...WEB,
      { Name: "friend", Action: "allow" },
      { Name: "foe", Action: "deny" },
      { Name: "*", Permissions: [allow({ PathPrefix: "/p/" }), allow({ PathExact: "/h", Methods: ["POST"] })] },
    ],
  },
  { Kind: "service-intentions", Name: "open", Sources: [{ Name: "exact", Permissions: SAID["exact"] }, { Name: "first", Permissions: SAID["first"] }, { Name: "foe", Action: "deny" }, { Name: "*", Action: "allow" }] },
  { Kind: "service-intentions", Name: "own", Sources: [{ Name: "second", Permissions: SAID["second"] }, { Name: "none", Permissions: SAID["none"] }] },
  { Kind: "service-intentions", Name: "tokens", JWT, Sources: [{ Name: "friend", Action: "allow" }, { Name: "exact", Permissions: SAID["exact"] }, { Name: "slash", Permissions: SAID["slash"] }, { Name: "foe", Action: "deny" }] },
  { Kind: "service-intentions", Name: "*", Sources: [{ Name: "friend", Action: "allow" }, { Name: "second", Action: "allow" }, { Name: "foe", Action: "deny" }, { Name: "none", Action: "allow" }] },
];

/** `lone` has no intentions of its own. */
const DESTINATIONS = ["web", "open", "own", "tokens", "lone"] as const;
/** `DESTINATION CALLER` of those who may be let in less. Of everybody else the answers must be the same. Where Consul allows by default, a source that it denies beside tokens is denied only with one. */
const LIMITED = new Set([...Object.keys(UNSAID).map((caller) => `web ${caller}`), ...["friend", "exact", "slash", "foe"].map((caller) => `tokens ${caller}`)]);
const CALLERS = [...Object.keys(PERMISSIONS), "friend", "foe", "stranger"];

const MESH = DESTINATIONS.map((name, index) => `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: ${name}, namespace: consul}
spec: {metadata: {labels: {app: ${name}}}, template: {serviceAccount: ${name}, ports: {http: ${8080 + index}}}}`).join("\n---");

const REQUESTS: readonly RawRequest[] = [
  ...["/", "/h", "/h/", "/H", "/p", "/p/", "/p?x=1", "/pq", "/P/", "/p/secret", "/p/secret/", "/p/secret?x=/h", "/p/a", "/p/ab", "/p/a/b", "/h/../p/a", "/p/./secret", "/p/../h", "/p/%73ecret"].flatMap((asked) => ["GET", "POST", "DELETE"].map((method) => ({ method, path: asked }))),
  ...["a1", "A1", "a", "1", "abc", "b1", ""].map((value) => ({ method: "GET", path: "/h", headers: { "x-team": value } })),
  { method: "GET", path: "/h", headers: { "X-Team": "a1" } },
  { method: "POST", path: "/p/secret", headers: { "x-team": "a1" } },
  { method: "HEAD", path: "/p/a" },
  { method: "PATCH", path: "/p/a" },
  { method: "OPTIONS", path: "*" },
  ...["/p", "/p/a", "/h"].flatMap((asked) => [TOKEN, token({ role: "other" })].map((one) => ({ method: "GET", path: asked, headers: { authorization: `Bearer ${one}` } }))),
];

(path === undefined ? describe.skip : describe)(path === undefined ? "requests by intentions of consul (no consul binary and no Go to build one)" : "requests by intentions of consul", () => {
  let folder: string;
  let application: Server;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-requests-"));
    application = createServer(({ url }, response) => response.end(url)).listen(0, "127.0.0.1");
    await once(application, "listening");
  });

  after(async () => {
    application.closeAllConnections();
    application.close();
    await rm(folder, { recursive: true });
  });

  for (const policy of ["deny", "allow"] as const) {
    describe(`and a default of ${policy}`, () => {
      let consul: ConsulAgent;
      let printed: string;
      let ours: StaticEnvoy;
      const open: { close(): unknown }[] = [];
      const authority = createTestAuthority();
      const sidecars = new Map<string, StaticEnvoy>();
      const theirs = new Map<string, number>();
      const callers = new Map<string, Readonly<Record<"consul" | "mesh", TlsCaller>>>();

      before(async () => {
        const ports = await freePorts(DESTINATIONS.length);
        consul = await ConsulAgent.start({ path: path ?? "", managementToken: MANAGEMENT_TOKEN, intentionPolicy: policy, hasXds: true });
        for (const entry of ENTRIES) {
          const { status, body } = await consul.call("PUT", "/v1/config", entry);
          assert.equal(status, 200, JSON.stringify(body));
        }
        const applicationPort = (application.address() as AddressInfo).port;
        for (const [index, service] of DESTINATIONS.entries()) {
          const port = ports[index] ?? 0;
          theirs.set(service, port);
          const sidecar = await startConsulSidecar({ consul, consulPath: path ?? "", managementToken: MANAGEMENT_TOKEN, service, applicationPort, port, folder: join(folder, `${policy}-${service}`) });
          sidecars.set(service, sidecar);
          open.push(sidecar);
        }
        printed = await runImport("--address", consul.address, "--token-file", await consul.tokenFile(folder, 'service_prefix "" { policy = "read" } mesh = "read"'), "--intention-default", policy);
        const { resources, issues } = parseDocuments(`${MESH}\n---\n${printed}`, "imported.yaml", "files");
        assert.deepEqual(issues, []);
        ours = await startInboundEnvoy({ folder: join(folder, `${policy}-mesh`), resources, groups: DESTINATIONS.map((name) => `consul/${name}`), authority, applicationPort });
        open.push(ours);
        for (const name of CALLERS) {
          const { certificateChain, privateKey } = authority.mint(`spiffe://mesh.internal/ns/consul/sa/${name}`);
          const pair = { consul: createTlsCaller(await consulIdentity(consul, name)), mesh: createTlsCaller({ cert: certificateChain, key: privateKey.revealText() }) };
          callers.set(name, pair);
          open.push(pair.consul, pair.mesh);
        }
      });

      after(async () => {
        for (const one of open.toReversed()) await one.close();
        await consul.stop();
      });

      async function answers(caller: string, destination: string, request: RawRequest): Promise<Readonly<Record<"consul" | "mesh", RawAnswer>>> {
        const pair = callers.get(caller);
        assert.ok(pair !== undefined);
        const [consulSays, meshSays] = await Promise.all([pair.consul.ask(theirs.get(destination) ?? 0, request), pair.mesh.ask(ours.portOf(destination), request)]);
        return { consul: consulSays, mesh: meshSays };
      }
      for (const destination of DESTINATIONS) {
        it(`lets in to ${destination} whom Consul's own proxy lets in`, async () => {
          const seen = { same: new Set<boolean>(), less: 0 };
          for (const caller of CALLERS) {
            for (const request of REQUESTS) {
              const { consul: theirAnswer, mesh: ourAnswer } = await answers(caller, destination, request);
              const what = `${caller} -> ${destination} ${JSON.stringify(request)}: consul says ${theirAnswer.status}, the mesh ${ourAnswer.status} ${ourAnswer.body}`;
              const [isLetIn, isLetInHere] = [theirAnswer.status === 200, ourAnswer.status === 200];
              if (!LIMITED.has(`${destination} ${caller}`)) {
                assert.equal(ourAnswer.status, theirAnswer.status, what);
                seen.same.add(isLetIn);
              } else {
                assert.ok(isLetIn || !isLetInHere, what);
                if (isLetIn && !isLetInHere) seen.less += 1;
              }
              if (isLetIn && isLetInHere) assert.equal(ourAnswer.body, theirAnswer.body, what);
            }
          }
          if (destination !== "tokens") assert.deepEqual(seen.same, new Set([false, true]), "there are callers of both kinds");
          if (destination === "web" || destination === "tokens") assert.ok(seen.less > 0, "what cannot be said is refused");
        });
      }

      it("serves no path that Consul refuses, however it is written", async () => {
        for (const caller of ["exact", "slash", "first", "second", "nested", "all", "stranger"]) {
          for (const asked of ["//p", "/p//secret", "//p/a", "/p/a//b", "/p%2Fsecret", "/p%2fa", "/p%5csecret", "/p\\secret", "/p/%2e%2e/h", "/h/..%2fp", "/p/;/../secret", "/p/secret#x"]) {
            const { mesh: ourAnswer } = await answers(caller, "web", { method: "GET", path: asked });
            if (ourAnswer.status !== 200) continue;
            const { consul: theirAnswer } = await answers(caller, "web", { method: "GET", path: ourAnswer.body });
            assert.deepEqual(theirAnswer, ourAnswer, `${caller} asks for ${asked}, and gets ${ourAnswer.body}`);
          }
        }
      });

      if (policy === "deny") {
        it("lets in nobody who is no service of Consul's", async () => {
          // Consul gives certificates to its services alone: what it would say to others is read in its proxy.
          const theirConfig = (await sidecars.get("open")?.admin("/config_dump")) ?? "";
          const [, everybody = ""] = /"\^spiffe:\/\/([^"]*svc\/\[\^\/\]\+)\$"/.exec(theirConfig) ?? [];
          const [trustDomain] = everybody.split("/");
          assert.match(`${trustDomain}/ns/default/dc/dc1/svc/friend`, new RegExp(`^${everybody}$`), "its * is a pattern");
          assert.doesNotMatch(`${trustDomain}/ns/elsewhere/dc/dc1/svc/friend`, new RegExp(`^${everybody}$`));

          const { certificateChain, privateKey } = authority.mint("spiffe://mesh.internal/ns/elsewhere/sa/friend");
          const stranger = createTlsCaller({ cert: certificateChain, key: privateKey.revealText() });
          open.push(stranger);
          for (const destination of DESTINATIONS) {
            assert.equal((await stranger.ask(ours.portOf(destination), { method: "GET", path: "/p/a" })).status, 403, destination);
          }
        });
      } else {
        it("refuses who has no token, where Consul's own proxy does not ask for it", async () => {
          for (const caller of ["friend", "foe", "slash"]) {
            const { consul: theirAnswer, mesh: ourAnswer } = await answers(caller, "tokens", { method: "GET", path: "/p/a" });
            assert.deepEqual([theirAnswer.status, ourAnswer.status], [200, 403], caller);
          }
        });
      }

      it("says of each source whose permissions it cannot say", () => {
        const lines = printed.replaceAll(/\n# */g, " ");
        for (const [index, { Name }] of WEB.entries()) {
          assert.equal(lines.includes(`NOT TRANSLATED service-intentions web, Sources[${index}].Permissions`), Object.hasOwn(UNSAID, Name), Name);
        }
        assert.match(lines, /NOT TRANSLATED service-intentions tokens, JWT/);
      });
    });
  }
});
