import assert from "node:assert/strict";
import { waitUntil } from "../../test/support/wait-until.ts";
import type { Step } from "../step.ts";
import type { World } from "../world.ts";

const NAME = "ratings.service.consul";
/** The port of the workload itself: who is not in the mesh knows no virtual address. */
const URL = `http://${NAME}:9081/`;

const PERMISSIVE = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ratings, namespace: default}
spec:
  selector: {matchLabels: {app: ratings}}
  mtls: {mode: PERMISSIVE}
`;

/** The way back: who asks Consul finds what hosts of the mesh serve. */
export const consulPublished: Step = {
  title: "A service of the mesh, found in Consul by who is not in the mesh",
  async run(world) {
    const { narrator, terminal, vms } = world;
    assert.ok(world.consul !== undefined, "this step needs the world's Consul");
    const { box1 } = world.consul.boxes;
    const published = async (): Promise<string> => JSON.stringify(await publication(world));
    await waitUntil(async () => (await published()).includes('"instances":1,"pending":0,"error":""'), { what: "ratings to be published" });
    assert.match(await terminal.ironmesh(["get", "registries"]), /consul: default\/ratings is published as ratings, but its port 9081 is STRICT/);
    await box1.consul("catalog", "services", "-tags");
    const curl = ["--silent", "--show-error", "--max-time", "10"];
    const refused = await box1.lab.run("curl", [...curl, URL]);
    assert.notEqual(refused.code, 0, "a STRICT port answered in plain");
    narrator.proof("Consul has it, with its health; but its port takes members of the mesh alone, and status says so");

    await terminal.ironmesh(["apply", "-f", "-"], { input: PERMISSIVE });
    await waitUntil(async () => (await box1.lab.run("curl", [...curl, "--fail", URL])).code === 0, { what: "ratings to answer box1" });
    const answer = await terminal.program(box1.lab, { name: "curl", path: "curl", env: {} }, [...curl, "-w", "(connected to %{remote_ip})\n", URL]);
    assert.match(answer, /"service": "ratings"/);
    assert.match(answer, /"client": "unknown"/);
    assert.ok(answer.includes(`(connected to ${vms.vm3.lab.addresses.v4})`), "the answer is not vm3's");
    assert.doesNotMatch(await terminal.ironmesh(["get", "registries"]), /is STRICT/);
    assert.doesNotMatch(await terminal.ironmesh(["get", "services"]), /^consul\s+ratings\s/m, "the mesh has read back what it wrote");
    narrator.proof(`PERMISSIVE lets box1 in: ${NAME} is Consul's answer, and vm3's Envoy takes the plain request. The mesh does not read it back`);
    await terminal.ironmesh(["delete", "PeerAuthentication", "default/ratings"]);
    await waitUntil(async () => (await published()).includes("is STRICT"), { what: "the port to be STRICT again" });
  },
};

async function publication({ registries }: World): Promise<unknown> {
  return (await registries()).find(({ name }) => name === "consul")?.published;
}
