import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseDocuments } from "../../../api/document.ts";
import { CodedError } from "../../../base/coded-error.ts";
import { silentLogger } from "../../../base/logger.ts";
import { buildProgram } from "../../../cli/program.ts";

interface Outcome {
  readonly printed: string;
  readonly complaints: readonly string[];
  readonly exitCode: number;
}

async function run(args: readonly string[], input = ""): Promise<Outcome> {
  const printed: string[] = [];
  const complaints: string[] = [];
  let exitCode = 0;
  const program = buildProgram({
    api: () => assert.fail("no control plane is needed"),
    print: (text) => void printed.push(text),
    complain: (text) => void complaints.push(text),
    readInput: async () => input,
    setExitCode: (code) => (exitCode = code),
    logger: () => silentLogger,
  });
  const commands = [program, ...program.commands.flatMap((command) => [command, ...command.commands])];
  for (const command of commands) command.exitOverride().configureOutput({ writeErr: () => {} });
  await program.parseAsync(["import", "consul", ...args], { from: "user" });
  return { printed: printed.join("\n"), complaints, exitCode };
}

const ROUTER = JSON.stringify([{ Kind: "service-defaults", Name: "web", Protocol: "http" }, { Kind: "service-router", Name: "web", Routes: [{ Match: { HTTP: { PathPrefix: "/a" } }, Destination: { Service: "api" } }] }]);
const LOSSY = JSON.stringify({ Kind: "service-resolver", Name: "web", ConnectTimeout: "1s", Failover: { "*": { Datacenters: ["dc2"] } } });

describe("ironmesh import consul", () => {
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-import-"));
  });

  after(() => rm(folder, { recursive: true }));

  it("prints what apply takes, and a summary beside it", async () => {
    const { printed, complaints, exitCode } = await run(["--from-file", "-", "--namespace", "shop", "--mesh-domain", "mesh.example.com"], ROUTER);
    const { issues, resources } = parseDocuments(printed, "printed", "files");
    assert.deepEqual([issues, resources.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`)], [[], ["VirtualService shop/web"]]);
    assert.match(printed, /host: api\.shop\.svc\.mesh\.example\.com/);
    assert.deepEqual([complaints, exitCode], [["1 resources; 0 things not translated; 0 that differ; 1 to do besides"], 0]);
  });

  it("prints resources and findings for programs", async () => {
    const { printed } = await run(["--from-file", "-", "-o", "json"], LOSSY);
    const { resources, findings } = JSON.parse(printed) as { resources: { resource: { kind: string }; from: string[] }[]; findings: { effect: string; entry: string; path: string }[] };
    assert.deepEqual(resources.map(({ resource, from }) => [resource.kind, from]), [["DestinationRule", ["service-resolver web"]]]);
    assert.deepEqual(findings.map(({ effect, entry, path }) => [effect, entry, path]), [["lost", "service-resolver web", "Failover"]]);
  });

  it("exits with 1 for what is lost, if that is asked", async () => {
    assert.equal((await run(["--from-file", "-"], LOSSY)).exitCode, 0);
    assert.equal((await run(["--from-file", "-", "--strict"], LOSSY)).exitCode, 1);
    assert.equal((await run(["--from-file", "-", "--strict"], ROUTER)).exitCode, 0);
  });

  it("prints nothing of input that is not acceptable, and names the file and the field", async () => {
    const bad = join(folder, "bad.json");
    await writeFile(bad, JSON.stringify({ Kind: "service-router", Name: "web", Routes: "none" }));
    const { printed, complaints, exitCode } = await run(["--from-file", bad, "--from-file", "-"], LOSSY);
    assert.deepEqual([printed, exitCode], ["", 2]);
    assert.match(complaints.join("\n"), /^error IM0603 .*bad\.json: service-router web Routes: .*\(compare with what `consul config read` prints\)$/);
    const notJson = await run(["--from-file", "-"], "Kind = 1");
    assert.deepEqual([notJson.printed, notJson.exitCode], ["", 2]);
    assert.match(notJson.complaints.join("\n"), /^error IM0601 \(standard input\): is not JSON/);
  });

  it("keeps what entries say inside of comments and values", async () => {
    const evil = "x\n---\napiVersion: v1\nkind: Service\u0007\u202e";
    const entries = [{ Kind: evil, Name: evil }, { Kind: "service-defaults", Name: "web", [evil]: 1 }, { Kind: "service-resolver", Name: "web", Subsets: { v1: { Filter: evil } } }];
    const { printed } = await run(["--from-file", "-"], JSON.stringify(entries));
    assert.deepEqual(parseDocuments(printed, "printed", "files").documents.map(({ issues }) => issues), []);
    // oxlint-disable-next-line no-control-regex -- control characters are what must not get out
    assert.doesNotMatch(printed, /^kind: Service|[\u0007\u202e]/m);
  });

  it("says what is wrong with its options", async () => {
    for (const args of [["--address", "consul:8500"], ["--address", "http://"], ["--namespace", "A b"], ["--mesh-domain", "*.x"], ["--trust-domain", "a b"], ["--service-label", "/"], ["--intention-default", "maybe"], ["-o", "toml"]]) {
      await assert.rejects(run([...args, "--from-file", "-"], ROUTER), { exitCode: 1 }, args.join(" "));
    }
    for (const [args, code] of [[["--from-file", join(folder, "missing.json")], "MESH_FILE_UNREADABLE"], [["--ca-file", join(folder, "missing.pem")], "MESH_FILE_UNREADABLE"], [["--token-file", join(folder, "missing")], "MESH_REGISTRY_DENIED"]] as const) {
      await assert.rejects(run(args), (thrown) => thrown instanceof CodedError && thrown.code === code, args.join(" "));
    }
  });

  it("takes registry and domains from the control plane's configuration", async () => {
    const config = join(folder, "control-plane.yaml");
    await writeFile(config, "mesh: {domain: corp.example, trustDomain: corp.example}\nregistries:\n  - {kind: consul, name: one, namespace: first}\n  - {kind: consul, name: two, namespace: second, address: \"http://127.0.0.1:1\"}\n");
    const { printed } = await run(["--config", config, "--registry", "two", "--from-file", "-"], ROUTER);
    assert.match(printed, /web\.second\.svc\.corp\.example/);
    await assert.rejects(run(["--config", config, "--registry", "two"]), (thrown) => thrown instanceof CodedError && thrown.code === "MESH_REGISTRY_UNREACHABLE");
    for (const args of [["--config", config], ["--config", config, "--registry", "three"]]) {
      await assert.rejects(run(args), (thrown) => thrown instanceof CodedError && thrown.code === "MESH_IMPORT_REGISTRY" && /--registry/.test(thrown.hint ?? ""));
    }
    await writeFile(config, "registries: 7\n");
    const bad = await run(["--config", config]);
    assert.deepEqual([bad.printed, bad.exitCode], ["", 2]);
  });

  describe("from an agent", () => {
    /** Answers by kind; what is missing is a kind that it does not know. */
    let answers: Readonly<Record<string, { readonly body: string; readonly headers?: Readonly<Record<string, string>>; readonly status?: number }>> = {};
    const asked: http.IncomingMessage[] = [];
    const server = http.createServer((request, response) => {
      asked.push(request);
      const answer = answers[new URL(request.url ?? "", "http://x").pathname.replace("/v1/config/", "")];
      response.writeHead(answer === undefined ? 500 : (answer.status ?? 200), { "content-type": answer === undefined || answer.status !== undefined ? "text/plain" : "application/json", ...answer?.headers });
      response.end(answer?.body ?? "invalid config entry kind: it");
    });
    let address: string;

    before(async () => {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    });

    after(() => server.close());

    it("asks for every kind with its token, and goes on without those that Consul does not know", async () => {
      const token = join(folder, "token");
      await writeFile(token, "secret\n", { mode: 0o600 });
      answers = { "service-intentions": { body: JSON.stringify([{ Kind: "service-intentions", Name: "web", Sources: [{ Name: "shop", Action: "allow" }] }]), headers: { "x-consul-default-acl-policy": "deny" } } };
      const { printed } = await run(["--address", address, "--token-file", token, "--datacenter", "dc1"]);
      assert.match(printed, /Consul denies calls/, "as its ACLs do");
      assert.match(printed, /name: consul-intentions/);
      assert.ok(asked.length > 15);
      for (const { headers, url } of asked) {
        assert.equal(headers["x-consul-token"], "secret");
        assert.match(url ?? "", /^\/v1\/(config\/[a-z-]+\?dc=dc1&consistent=1|agent\/self)$/);
      }
    });

    it("goes by what the agent tells its proxies, else by its ACLs, and says why", async () => {
      const entry = { body: JSON.stringify([{ Kind: "service-intentions", Name: "web", Sources: [{ Name: "shop", Action: "allow" }] }]), headers: { "x-consul-default-acl-policy": "allow" } };
      const settings = (DefaultIntentionPolicy: unknown, ACLDefaultPolicy: unknown = "allow"): object => ({ Config: { Datacenter: "dc1" }, DebugConfig: { DefaultIntentionPolicy, ACLResolverSettings: { ACLDefaultPolicy } } });
      const runWith = async (self: { body: string; status?: number }, ...more: string[]): Promise<string> => {
        answers = { "service-intentions": entry, "/v1/agent/self": self };
        return (await run(["--address", address, ...more])).printed.replaceAll(/\n# */g, " ");
      };
      for (const [told, word] of [[settings("deny"), "denies"], [settings("allow", "deny"), "allows"], [settings("", "deny"), "denies"], [settings(undefined, "allow"), "allows"]] as const) {
        const printed = await runWith({ body: JSON.stringify(told) });
        assert.ok(printed.includes(`Consul ${word} calls`), JSON.stringify(told));
        assert.doesNotMatch(printed, /TO DO service-intentions/);
      }
      const unknown: readonly [{ body: string; status?: number }, RegExp][] = [
        [{ body: "Permission denied", status: 403 }, /needs `agent_prefix/],
        [{ body: "oops", status: 500 }, /could not be read: .*oops/],
        [{ body: "<html>" }, /could not be read: /],
        [{ body: "{}" }, /could not be read: consul's answer is not understood at Config/],
        [{ body: JSON.stringify(settings("maybe")) }, /not understood at DebugConfig.DefaultIntentionPolicy/],
        [{ body: JSON.stringify(settings("", "")) }, /not understood at DebugConfig.ACLResolverSettings.ACLDefaultPolicy/],
      ];
      for (const [self, reason] of unknown) {
        const printed = await runWith(self);
        assert.match(printed, /Consul allows calls/);
        assert.match(printed, new RegExp(`TO DO service-intentions: that Consul allows .*${reason.source}.*--intention-default`));
        assert.doesNotMatch(await runWith(self, "--intention-default", "deny"), /TO DO service-intentions/);
      }
      assert.match(await runWith({ body: JSON.stringify(settings("deny")) }, "--datacenter", "dc2"), /Consul allows calls.*the agent is one of the datacenter dc1: ask one of dc2/);
    });

    it("takes nothing for allowed where no answer says what holds without an intention", async () => {
      const body = JSON.stringify([{ Kind: "service-intentions", Name: "web", Sources: [{ Name: "shop", Action: "allow" }] }]);
      answers = { "service-intentions": { body } };
      const { printed } = await run(["--address", address]);
      assert.match(printed, /it is not known what Consul does/);
      assert.doesNotMatch(printed, /- "\*"/);
      answers = { "service-intentions": { body, headers: { "x-consul-default-acl-policy": "allow" } } };
      const open = (await run(["--address", address])).printed;
      assert.match(open, /Consul allows calls/);
      assert.match(open, /- "\*"/, "everybody");
    });

    it("takes no part of the whole: neither as a stranger, nor with a token that may not read all", async () => {
      for (const headers of [{ "x-consul-default-acl-policy": "deny" }, { "x-consul-results-filtered-by-acls": "true" }] as Record<string, string>[]) {
        answers = { "service-router": { body: ROUTER, headers } };
        await assert.rejects(run(["--address", address]), (thrown) => thrown instanceof CodedError && thrown.code === "MESH_REGISTRY_DENIED" && /service_prefix/.test(thrown.hint ?? ""));
      }
      answers = { "jwt-provider": { body: "[]", headers: { "x-consul-results-filtered-by-acls": "true" } } };
      assert.match((await run(["--address", address])).printed, /TO DO jwt-provider: the token may not read every entry/);
    });

    it("names an answer that is none of Consul's", async () => {
      for (const [answer, code] of [[{ body: "{}" }, "MESH_REGISTRY_MALFORMED"], [{ body: "<html>" }, undefined], [{ body: "ACL not found", status: 403 }, "MESH_REGISTRY_DENIED"], [{ body: "No path to datacenter", status: 500 }, "MESH_REGISTRY_MISCONFIGURED"]] as const) {
        answers = { "proxy-defaults": answer };
        await assert.rejects(run(["--address", address]), (thrown) => thrown instanceof CodedError && (code === undefined || thrown.code === code), answer.body);
      }
      answers = { "service-router": { body: "[{\"Kind\":\"service-router\"}]" } };
      assert.equal((await run(["--address", address])).exitCode, 2);
    });
  });
});
