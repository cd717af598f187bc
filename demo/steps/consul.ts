import assert from "node:assert/strict";
import { waitUntil } from "../../test/support/wait-until.ts";
import { CONSUL_URL } from "../consul.ts";
import type { ConsulCluster } from "../consul.ts";
import { whileRunning } from "../daemon.ts";
import { WEB } from "../mesh.ts";
import { startRecording } from "../recording.ts";
import type { Step } from "../step.ts";
import type { Terminal } from "../terminal.ts";
import type { World } from "../world.ts";

const SERVICE = "consul/details";
const BOX_URL = `${CONSUL_URL}/box`;
const REQUESTS = 40;

const RULES = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: details, namespace: consul}
spec:
  host: details
  subsets:
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details, namespace: consul}
spec:
  hosts: [details]
  http:
  - match: [{headers: {x-demo: {exact: abort}}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: details}}]
  - match: [{uri: {prefix: /slow}}]
    timeout: 500ms
    route: [{destination: {host: details}}]
  - route: [{destination: {host: details, subset: v2}}]
`;
const STATUS = ["-w", "(HTTP %{http_code} after %{time_total} s)\n"];

const byName: Step = {
  title: "A service that only Consul knows: found by a name of the mesh, reached through the caller's Envoy",
  async run(world) {
    const { narrator, terminal, registries, folder, vms } = world;
    const { boxes } = consulOf(world);
    await boxes.box1.consul("catalog", "services", "-tags");
    await waitUntil(async () => (await healthOf(world)).join() === "healthy", { what: "Consul's check of details to pass" });
    assert.match(await terminal.ironmesh(["get", "registries"]), /^consul\s+consul\s+yes\s+1\s+1\s/m);
    assert.deepEqual((await registries()).map(({ error }) => error).join(""), "");
    const services = await terminal.ironmesh(["get", "services"]);
    assert.match(services, /^consul\s+details\s+details\.consul\.svc\.mesh\.internal\s.*\sconsul$/m);
    assert.match(await terminal.ironmesh(["get", "endpoints", SERVICE]), /\shealthy\s+plain\s+-\s+consul$/m);
    narrator.proof("Consul's service is in the catalog beside the others, and says where it comes from");

    await waitUntil(async () => (await terminal.quietCurl(WEB, ["--fail", BOX_URL])).code === 0, { what: "details to answer web" });
    const wire = await startRecording(boxes.box1.lab, "eth0", `${folder}/box1.pcap`);
    const answer = await terminal.curl(WEB, ["-w", "(connected to %{remote_ip})\n", `${CONSUL_URL}/`]);
    assert.match(answer, /"box": "box1"/);
    assert.ok(answer.includes(`"peer": "${vms.vm1.lab.addresses.v4}"`), "the request did not come from vm1");
    assert.match(answer, /"x-request-id": "[0-9a-f-]{36}"/, "no Envoy has seen the request");
    const connectedTo = /\(connected to (.+)\)/.exec(answer)?.[1] ?? "";
    assert.match(services, new RegExp(`^consul .*[ ,]${connectedTo}[ ,]`, "m"), `${connectedTo} is not the virtual address of details`);
    narrator.proof("curl connected to a virtual address, and vm1's Envoy called box1 in its place");

    await waitUntil(() => wire.contains('"service": "details"'), { what: "the recording to hold the answer" });
    await wire.stop();
    const filter = "dst port 9082 and greater 100";
    narrator.command("box1", `tcpdump -r box1.pcap -nn -A -c 1 '${filter}'`);
    const request = await wire.show(["-A", "-c", "1", filter]);
    narrator.output(request);
    assert.match(request, /GET \/ HTTP\/1\.1/, "the request is not readable on the wire");
    assert.match(answer, /"client": "unknown"/);
    narrator.proof("in plain: a box without a sidecar has no certificate, and the mesh does not say otherwise (TLS: plain)");
  },
};

const byHealth: Step = {
  title: "Consul's registrations and checks decide who gets traffic",
  async run(world) {
    const { narrator, terminal } = world;
    const { box1, box2 } = consulOf(world).boxes;
    await box2.consul("services", "register", box2.definitionPath);
    await waitUntil(async () => (await sample(terminal)).includes("details on box2"), { what: "box2 to get traffic" });
    await terminal.ironmesh(["get", "endpoints", SERVICE]);
    const shares = await showSample(world);
    assert.deepEqual(shares, ["details on box1", "details on box2"]);
    narrator.proof("a second instance gets its share as soon as its check passes");

    narrator.command("box1", "systemctl stop details");
    await box1.application.stop();
    let failed = 0;
    await waitUntil(
      async () => {
        const answers = await sample(terminal);
        failed += answers.filter((line) => !line.startsWith("details on ")).length;
        return (await healthOf(world)).join() === "unhealthy,healthy";
      },
      { what: "Consul's check of box1 to fail" },
    );
    await terminal.ironmesh(["get", "endpoints", SERVICE]);
    assert.deepEqual(await showSample(world), ["details on box2"]);
    narrator.proof(`since its check failed box1 gets nothing; until then ${failed} requests failed, because Envoy tries another instance where nobody listens`);

    narrator.command("box1", "systemctl start details");
    box1.application.start();
    await waitUntil(async () => (await healthOf(world)).join() === "healthy,healthy", { what: "box1 to be well again" });
    await waitUntil(async () => (await sample(terminal)).includes("details on box1"), { what: "box1 to get traffic again" });
    narrator.proof("and it is back when its check passes");
  },
};

const byRules: Step = {
  title: "Istio's YAML holds for Consul's service: subsets by its tags, a fault, a timeout",
  async run(world) {
    const { narrator, terminal } = world;
    await terminal.ironmesh(["apply", "-f", "-"], { input: RULES });
    const status = async (): Promise<string> => (await terminal.quietCurl(WEB, ["-o", "/dev/null", "-w", "%{http_code}", "-H", "x-demo: abort", BOX_URL])).stdout;
    await waitUntil(async () => (await status()) === "418", { what: "the fault to take effect" });

    assert.deepEqual(await showSample(world), ["details on box2"]);
    narrator.proof("the subset v2 is who has the tag v2 in Consul: box2");
    assert.match(await terminal.curl(WEB, ["-H", "x-demo: abort", ...STATUS, BOX_URL]), /HTTP 418/);
    narrator.proof("the fault answers in the server's place");
    assert.match(await terminal.curl(WEB, [...STATUS, `${CONSUL_URL}/slow`]), /HTTP 504/);
    narrator.proof("a server that needs three seconds is given up after half of one");

    await terminal.ironmesh(["delete", "VirtualService", "consul/details"]);
    await terminal.ironmesh(["delete", "DestinationRule", "consul/details"]);
    await waitUntil(async () => new Set(await sample(terminal)).size === 2, { what: "both instances to get traffic again" });
  },
};

const consulLoss: Step = {
  title: "Consul stops, and the control plane starts anew without it: traffic goes on",
  async run(world) {
    const { narrator, terminal, controlPlane, registries, hosts } = world;
    const { server, boxes } = consulOf(world);
    const errorOf = async (): Promise<string> => (await registries()).find(({ name }) => name === "consul")?.error ?? "";

    narrator.command("consul", "systemctl stop consul");
    await server.stop();
    await waitUntil(async () => (await errorOf()) !== "", { what: "the loss to show" });
    assert.match(await terminal.ironmesh(["get", "registries"]), /^consul\s+consul\s+yes\s+1\s+2\s.*consul does not answer/m);
    assert.deepEqual(await showSample(world), ["details on box1", "details on box2"]);
    narrator.proof("the registry says what is wrong and how old its content is, which stays in force");

    narrator.command("control", "systemctl restart ironmesh-control-plane");
    await controlPlane.stop();
    controlPlane.start();
    await whileRunning(controlPlane, "every host to be back", async () => (await hosts()).every(({ state }) => state === "connected"));
    await waitUntil(async () => (await errorOf()) !== "", { what: "the loss to show again" });
    assert.match(await terminal.ironmesh(["get", "registries"]), /^consul\s+consul\s+yes\s+1\s+2\s/m);
    assert.match(await terminal.ironmesh(["get", "endpoints", SERVICE]), /\sunknown\s+plain\s/);
    assert.deepEqual(await showSample(world), ["details on box1", "details on box2"]);
    narrator.proof("a control plane that never heard Consul begins with the last good content from its store, and does not claim to know its health");

    narrator.command("consul", "systemctl start consul");
    server.start();
    await whileRunning(server, "Consul to be heard again", async () => (await errorOf()) === "" && (await healthOf(world)).join() === "healthy,healthy");
    await terminal.ironmesh(["get", "registries"]);
    await boxes.box2.consul("services", "deregister", "-id", "details-2");
    await waitUntil(async () => (await healthOf(world)).length === 1, { what: "box2 to be gone from the catalog" });
    await waitUntil(async () => new Set(await sample(terminal)).size === 1, { what: "box2 to get no traffic" });
    assert.deepEqual(await showSample(world), ["details on box1"]);
    narrator.proof("Consul is back, and what changes there takes effect again");
  },
};

/** In order; they end with *details* on box1 alone. */
export const CONSUL_STEPS: readonly Step[] = [byName, byHealth, byRules, consulLoss];

function consulOf({ consul }: World): ConsulCluster {
  assert.ok(consul !== undefined, "this step needs the world's Consul");
  return consul;
}

/** Health of the instances of details, by address. */
async function healthOf({ endpoints }: World): Promise<readonly string[]> {
  return (await endpoints(SERVICE)).map(({ health }) => health);
}

/** What as many requests say, a line each; nothing is retried here. */
async function sample({ quietCurl }: Terminal): Promise<readonly string[]> {
  const { stdout } = await quietCurl(WEB, [`${BOX_URL}?[1-${REQUESTS}]`]);
  return stdout.trim().split("\n");
}

/** Shows a sample, counted, and gives its different answers; of two instances that share, one gets nothing once in 10^11 samples. */
async function showSample({ narrator, terminal }: World): Promise<readonly string[]> {
  narrator.command(WEB.vm, `curl -s '${BOX_URL}?[1-${REQUESTS}]' | sort | uniq -c`);
  const counts = Map.groupBy(await sample(terminal), (line) => line);
  const sorted = [...counts].sort(([left], [right]) => (left < right ? -1 : 1));
  narrator.output(sorted.map(([line, { length }]) => `${String(length).padStart(7)} ${line}`).join("\n"));
  assert.equal([...counts.values()].flat().length, REQUESTS, "not every request was answered");
  return sorted.map(([line]) => line);
}
