import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { waitUntil } from "../../test/support/wait-until.ts";
import { whileRunning } from "../daemon.ts";
import type { KubernetesCluster } from "../kubernetes.ts";
import { RATINGS, WEB } from "../mesh.ts";
import type { Step } from "../step.ts";
import { isReady, startApplication } from "../world.ts";
import type { World } from "../world.ts";

const SERVICE = "default/ratings";
const URL = "http://ratings.default:8080/place";
const REQUESTS = 60;
const PORT = 9_081;
const RATINGS_UID = RATINGS.uid;

/** What a service's controllers would write for a pod; there are none here. */
const clusterYaml = (address: string): string => `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: shop}
spec:
  ports: [{name: http, port: 80, targetPort: ${PORT}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ratings-1, namespace: shop, labels: {kubernetes.io/service-name: ratings}}
addressType: IPv4
ports: [{name: http, port: ${PORT}, protocol: TCP}]
endpoints: [{addresses: [${address}], conditions: {ready: true}}]
`;

const consulDefinition = `service {
  id   = "ratings-1"
  name = "ratings"
  port = ${PORT}
  tags = ["http"]
  check {
    tcp      = "127.0.0.1:${PORT}"
    interval = "1s"
    timeout  = "1s"
  }
}
`;

/** Each place that answers, in the words of `get services`. */
function placesOf({ consul }: World): readonly { readonly place: string; readonly member: string }[] {
  return [
    { place: "ratings on vm3", member: "static/default/ratings" },
    ...(consul === undefined ? [] : [{ place: "ratings on box1", member: "consul/consul/ratings" }]),
    { place: "ratings on node1", member: "kubernetes/kubernetes-shop/ratings" },
  ];
}

const apart: Step = {
  title: "The same service in several registries: each is one of its own, and nobody takes another's traffic",
  async run(world) {
    const { narrator, terminal, folder, endpoints, consul } = world;
    const { node, kubectl, write } = clusterOf(world);
    await startApplication(node, "ratings", "ratings.mjs", { place: "node1", uid: RATINGS_UID, port: PORT });
    await kubectl("apply", "-f", await write("ratings.yaml", clusterYaml(node.addresses.v4)));
    if (consul !== undefined) {
      const { box1 } = consul.boxes;
      await startApplication(box1.lab, "ratings", "ratings.mjs", { place: "box1", uid: RATINGS_UID, port: PORT });
      const definition = join(folder, "box1", "ratings.hcl");
      await writeFile(definition, consulDefinition);
      await box1.consul("services", "register", definition);
    }
    for (const key of ["kubernetes-shop/ratings", ...(consul === undefined ? [] : ["consul/ratings"])]) {
      await waitUntil(async () => (await endpoints(key)).map(({ health }) => health).join() === "healthy", { what: `${key} to have an endpoint` });
    }
    const services = await terminal.ironmesh(["get", "services"]);
    assert.match(services, /^kubernetes-shop\s+ratings\s.*\skubernetes$/m);
    assert.match(services, /^default\s+ratings\s.*\s1\/1\s+static$/m);
    const description = await terminal.ironmesh(["describe", "service", SERVICE]);
    assert.match(description, /kubernetes-shop\/ratings, shop\/ratings of kubernetes, is another service\. To make them one: sameness: /);
    assert.deepEqual(await showPlaces(world), ["ratings on vm3"]);
    narrator.proof("whoever registers a name that is taken gets no request; describe says how to join them");
  },
};

const joined: Step = {
  title: "A rule says that they are one: one service, and requests go to all of them",
  async run(world) {
    const { narrator, terminal } = world;
    const count = placesOf(world).length;
    await addRule(world);
    const description = await describeUntil(world, (text) => text.includes(`${count} of ${count} get traffic`), "every endpoint to get traffic");
    assert.match(description, /sameness\[0\]/);
    const places = placesOf(world).map(({ place }) => place).sort();
    await waitUntil(async () => new Set(await sample(world)).size === places.length, { what: "requests to reach every registry's endpoint" });
    assert.deepEqual(await showPlaces(world), places);
    narrator.proof(`${places.length} registries, one service; vm3 over mutual TLS, the others as what they are: plain`);
    assert.equal(description.match(/\smutual\s/g)?.length, 1);
    const native = await terminal.quietCurl(WEB, ["http://ratings.kubernetes-shop/place"]);
    assert.match(native.stdout, /^ratings on /, "the name and port that it had before lead to the joined service");
    narrator.proof("and the names that each of them had before lead to it");
  },
};

const failures: Step = {
  title: "Each registry fails in turn: no request does",
  async run(world) {
    const { narrator, terminal, consul, registries, vms } = world;
    const { apiServer } = clusterOf(world);
    const errorOf = async (name: string): Promise<string> => (await registries()).find((one) => one.name === name)?.error ?? "";
    const places = placesOf(world).map(({ place }) => place).sort();

    narrator.command("cluster", "systemctl stop kube-apiserver");
    await apiServer.kill();
    await waitUntil(async () => (await errorOf("kubernetes")) !== "", { what: "the loss to show" });
    assert.match(await describeUntil(world, (text) => /^ {2}kubernetes +yes .*\(since /m.test(text), "describe to say so"), /node1|ratings/);
    assert.deepEqual(await showPlaces(world), places);
    narrator.proof("Kubernetes is away, and its endpoint serves on; describe says since when");
    narrator.command("cluster", "systemctl start kube-apiserver");
    apiServer.start();
    await whileRunning(apiServer, "Kubernetes to be heard again", async () => (await errorOf("kubernetes")) === "");

    if (consul !== undefined) {
      narrator.command("consul", "systemctl stop consul");
      await consul.server.stop();
      await waitUntil(async () => (await errorOf("consul")) !== "", { what: "the loss to show" });
      await describeUntil(world, (text) => /^ {2}consul +yes .*\(since /m.test(text), "describe to say so");
      assert.deepEqual(await showPlaces(world), places);
      narrator.proof("Consul is away, and its endpoint serves on");
      narrator.command("consul", "systemctl start consul");
      consul.server.start();
      await whileRunning(consul.server, "Consul to be heard again", async () => (await errorOf("consul")) === "");
    }

    const before = world.controlPlane;
    narrator.command("control", "echo 'spec: [' >> /etc/ironmesh/mesh/mesh.yaml");
    const path = join(world.folder, "control", "mesh", "mesh.yaml");
    const good = await readFile(path, "utf8");
    await writeFile(path, `${good}\nspec: [\n`);
    const config = await waitUntil(async () => {
      const text = (await terminal.ironmesh(["get", "config"], { isQuiet: true }));
      return /rejected|IM01/.test(text) ? text : undefined;
    }, { what: "the broken file to show" });
    assert.ok(config !== undefined);
    narrator.command("control", "ironmesh get config");
    narrator.output(config);
    assert.ok(before.isRunning());
    assert.deepEqual(await showPlaces(world), places);
    await writeFile(path, good);
    narrator.proof("a broken file changes nothing: what it said before stays in force");

    narrator.command("vm3", "systemctl kill --signal=KILL ironmesh-agent");
    await vms.vm3.agent.kill();
    await describeUntil(world, (text) => / hosts vm3\/ratings +mutual +no /m.test(text), "the silent host to get no new traffic");
    assert.deepEqual(await showPlaces(world), places.filter((place) => place !== "ratings on vm3"));
    narrator.proof("the host that is silent gets no new requests: the others take them");
    narrator.command("vm3", "systemctl start ironmesh-agent");
    vms.vm3.agent.start();
    await whileRunning(vms.vm3.agent, "vm3 to be ready", () => isReady(vms.vm3.lab));
    await waitUntil(async () => new Set(await sample(world)).size === places.length, { what: "vm3 to get traffic again" });
    assert.deepEqual(await showPlaces(world), places);
    narrator.proof("and it is back");
  },
};

/** Need the world's Kubernetes; they end with the joined service whole. */
export const SAMENESS_STEPS: readonly Step[] = [apart, joined, failures];

/** Writes the rule into the control plane's configuration, and has it take effect. */
async function addRule(world: World): Promise<void> {
  const { narrator, controlPlane, hosts, folder } = world;
  const path = join(folder, "control", "control-plane.yaml");
  const rule = { of: placesOf(world).map(({ member }) => member), allowPlaintext: true };
  const settings = parse(await readFile(path, "utf8")) as Record<string, unknown>;
  await writeFile(path, stringify({ ...settings, sameness: [rule] }));
  narrator.command("control", `cat >> /etc/ironmesh/control-plane.yaml <<'END'\n${stringify({ sameness: [rule] }).trimEnd()}\nEND`);
  narrator.command("control", "systemctl restart ironmesh-control-plane");
  await controlPlane.stop();
  controlPlane.start();
  await whileRunning(controlPlane, "every host to be back", async () => (await hosts()).every(({ state }) => state === "connected"));
}

/** Shows the description once it says what was waited for. */
async function describeUntil({ narrator, terminal }: World, says: (text: string) => boolean, what: string): Promise<string> {
  const args = ["describe", "service", SERVICE] as const;
  const text = await waitUntil(async () => {
    const found = await terminal.ironmesh(args, { isQuiet: true });
    return says(found) ? found : undefined;
  }, { what, intervalMs: 500 });
  narrator.command("control", `ironmesh ${args.join(" ")}`);
  narrator.output(text ?? "");
  return text ?? "";
}

function clusterOf({ kubernetes }: World): KubernetesCluster {
  assert.ok(kubernetes !== undefined, "this step needs the world's Kubernetes");
  return kubernetes;
}

async function sample({ terminal }: World): Promise<readonly string[]> {
  const { stdout } = await terminal.quietCurl(WEB, ["--fail", `${URL}?[1-${REQUESTS}]`]);
  return stdout.trim().split("\n");
}

/** Shows who answered how often, and gives the different answers; every request must have been answered. */
async function showPlaces(world: World): Promise<readonly string[]> {
  const { narrator } = world;
  narrator.command(WEB.vm, `curl -s '${URL}?[1-${REQUESTS}]' | sort | uniq -c`);
  const counts = Map.groupBy(await sample(world), (line) => line);
  const sorted = [...counts].sort(([left], [right]) => (left < right ? -1 : 1));
  narrator.output(sorted.map(([line, { length }]) => `${String(length).padStart(7)} ${line}`).join("\n"));
  assert.equal([...counts.values()].flat().length, REQUESTS, "not every request was answered");
  return sorted.map(([line]) => line);
}
