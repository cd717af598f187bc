import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConsulAgent, freePorts } from "../support/consul-agent.ts";
import { consulIdentity, startConsulSidecar } from "../support/consul-sidecar.ts";
import { consulPath } from "../support/consul.ts";
import { runImport } from "../support/run-import.ts";
import type { StaticEnvoy } from "../support/static-envoy.ts";
import { createTlsCaller, type TlsCaller } from "../support/tls-caller.ts";
import { waitUntil } from "../support/wait-until.ts";

const MANAGEMENT_TOKEN = "11111111-2222-3333-4444-555555555555";
const RIGHTS = 'service_prefix "" { policy = "read" } mesh = "read"';
const path = consulPath();

const SETTINGS = [
  { acls: "deny", intentions: undefined, does: "deny" },
  { acls: "allow", intentions: undefined, does: "allow" },
  { acls: "deny", intentions: "allow", does: "allow" },
  { acls: "allow", intentions: "deny", does: "deny" },
] as const;

(path === undefined ? describe.skip : describe)(path === undefined ? "the default of intentions (no consul binary and no Go to build one)" : "the default of intentions", () => {
  let folder: string;
  let application: Server;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-default-"));
    application = createServer((_request, response) => response.end()).listen(0, "127.0.0.1");
    await once(application, "listening");
  });

  after(async () => {
    application.closeAllConnections();
    application.close();
    await rm(folder, { recursive: true });
  });

  for (const [index, { acls, intentions, does }] of SETTINGS.entries()) {
    describe(`with ACLs that ${acls} and ${intentions === undefined ? "no policy of their own" : `a policy of ${intentions}`}`, () => {
      let consul: ConsulAgent;
      let sidecar: StaticEnvoy | undefined;
      let caller: TlsCaller;

      before(async () => {
        consul = await ConsulAgent.start({ path: path ?? "", managementToken: MANAGEMENT_TOKEN, ...(acls === "allow" ? { aclPolicy: acls } : {}), ...(intentions === undefined ? {} : { intentionPolicy: intentions }), hasXds: true });
        for (const entry of [
          { Kind: "proxy-defaults", Name: "global", Config: { protocol: "http" } },
          { Kind: "service-intentions", Name: "web", Sources: [{ Name: "shop", Action: "allow" }, { Name: "spam", Action: "deny" }] },
        ]) assert.equal((await consul.call("PUT", "/v1/config", entry)).status, 200);
      });

      after(async () => {
        caller?.close();
        await sidecar?.close();
        await consul.stop();
      });

      it("takes what the agent tells its proxies", async () => {
        const [port = 0] = await freePorts(1);
        const applicationPort = (application.address() as AddressInfo).port;
        sidecar = await startConsulSidecar({ consul, consulPath: path ?? "", managementToken: MANAGEMENT_TOKEN, service: "web", applicationPort, port, folder: join(folder, String(index)) });
        caller = createTlsCaller(await consulIdentity(consul, "stranger"));
        assert.equal((await caller.ask(port, { method: "GET", path: "/" })).status, does === "allow" ? 200 : 403, "what Consul's own proxy does");

        const printed = await runImport("--address", consul.address, "--token-file", await consul.tokenFile(folder, `${RIGHTS} agent_prefix "" { policy = "read" }`));
        assert.match(oneLine(printed), does === "allow" ? /Consul allows calls that no intention speaks of/ : /Consul denies calls that no intention speaks of/);
        assert.equal(printed.includes("name: consul-intentions"), does === "deny", "the policy of everybody else");
        assert.doesNotMatch(printed, /TO DO service-intentions/);
      });

      it("says that it is not certain without the right to ask the agent", async () => {
        const token = acls === "deny" ? RIGHTS : `${RIGHTS} agent_prefix "" { policy = "deny" }`;
        const printed = oneLine(await runImport("--address", consul.address, "--token-file", await consul.tokenFile(folder, token)));
        assert.match(printed, acls === "allow" ? /Consul allows calls that no intention speaks of/ : /Consul denies calls that no intention speaks of/);
        assert.match(printed, /TO DO service-intentions: that Consul \w+ calls that no intention speaks of is its ACLs' default policy.*needs `agent_prefix "" \{ policy = "read" \}`/);
        const decided = oneLine(await runImport("--address", consul.address, "--token-file", await consul.tokenFile(folder, token), "--intention-default", does));
        assert.doesNotMatch(decided, /TO DO service-intentions/);
      });

      it("does not ask Consul's check, which goes by the ACLs alone", async () => {
        // If this fails, the check has become another certain way, with fewer rights.
        assert.deepEqual((await consul.call("GET", "/v1/connect/intentions/check?source=stranger&destination=web")).body, { Allowed: acls === "allow" });
      });
    });
  }

  it("is known of a Consul without ACLs too, and not of another datacenter than the agent's", async () => {
    const consul = await ConsulAgent.start({ path: path ?? "", intentionPolicy: "deny" });
    const other = await ConsulAgent.start({ path: path ?? "", datacenter: "dc2", joinWan: consul });
    try {
      assert.equal((await consul.call("PUT", "/v1/config", { Kind: "service-intentions", Name: "web", Sources: [{ Name: "shop", Action: "allow" }] })).status, 200);
      assert.match(oneLine(await runImport("--address", consul.address, "--datacenter", "dc1")), /Consul denies calls that no intention speaks of/);
      await waitUntil(async () => (await other.call("GET", "/v1/config/service-intentions?dc=dc1")).status === 200, { what: "the datacenters to reach each other" });
      assert.match(oneLine(await runImport("--address", other.address, "--datacenter", "dc1")), /TO DO service-intentions: that Consul allows .*: the agent is one of the datacenter dc2: ask one of dc1/);
    } finally {
      await other.stop();
      await consul.stop();
    }
  });
});

function oneLine(printed: string): string {
  return printed.replaceAll(/\n# */g, " ");
}
