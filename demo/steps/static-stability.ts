import assert from "node:assert/strict";
import { whileRunning } from "../daemon.ts";
import { WEB } from "../mesh.ts";
import type { Caller } from "../mesh.ts";
import type { Step } from "../step.ts";
import type { Terminal } from "../terminal.ts";
import { isReady } from "../world.ts";

const URL = "http://reviews.default:8080/version";

export const staticStability: Step = {
  title: "The control plane is stopped, then vm1's agent is killed: traffic goes on",
  async run({ narrator, terminal, vms, controlPlane, apiSocket, hosts }) {
    const { agent, lab } = vms.vm1;
    narrator.command("control", "systemctl stop ironmesh-control-plane");
    const address = (await terminal.quietCurl(WEB, ["-o", "/dev/null", "-w", "%{remote_ip}", URL])).stdout;
    await controlPlane.stop();
    await assert.rejects(hosts(), `nobody should serve ${apiSocket}`);
    await assertServed(terminal, WEB);
    narrator.proof("20 of 20 requests are served without a control plane");

    narrator.command("vm1", "systemctl kill --signal=KILL ironmesh-agent");
    await agent.kill();
    await assertServed(terminal, WEB, ["--resolve", `reviews.default:8080:${address}`]);
    narrator.proof("20 of 20 requests are served while there is no agent either: Envoy runs on (only the name is asked of the agent)");

    narrator.command("vm1", "systemctl start ironmesh-agent");
    agent.start();
    await whileRunning(agent, "vm1 to be ready without a control plane", () => isReady(lab));
    await assertServed(terminal, WEB);
    narrator.proof("the new agent came up from what is on its disk, and took over the running Envoy");

    narrator.command("control", "systemctl start ironmesh-control-plane");
    controlPlane.start();
    await whileRunning(controlPlane, "vm1 and vm3 to be back", async () => {
      const back = (await hosts()).filter(({ state }) => state === "connected").map(({ name }) => name);
      return back.includes("vm1") && back.includes("vm3");
    });
    await terminal.ironmesh(["get", "hosts"]);
    narrator.proof("the control plane is back, and so are its hosts, without a new token");
  },
};

const REQUESTS = 20;

async function assertServed(terminal: Terminal, caller: Caller, args: readonly string[] = []): Promise<void> {
  const { stdout, stderr } = await terminal.quietCurl(caller, [...args, `${URL}?[1-${REQUESTS}]`]);
  assert.equal(stdout, "reviews v2\n".repeat(REQUESTS), stderr);
}
