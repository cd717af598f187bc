import assert from "node:assert/strict";
import { waitUntil } from "../../test/support/wait-until.ts";
import { WEB } from "../mesh.ts";
import type { Step } from "../step.ts";

const URL = "http://reviews.default:8080/version";
const CALM_REQUESTS = 20;

export const hostLoss: Step = {
  title: "vm2 loses its power: traffic avoids it",
  async run({ narrator, terminal, vms, hosts }) {
    narrator.command("vm2", "(pulls the plug)");
    const { stdout: pids } = await terminal.root("vm2", "ip", ["netns", "pids", "vm2"]);
    await terminal.root("vm2", "ip", ["link", "set", "eth0", "down"]);
    for (const pid of pids.trim().split("\n").map(Number)) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It ended with the process that started it, or is the `ip` that listed them.
      }
    }
    const from = performance.now();
    let failed = 0;
    await waitUntil(
      async () => {
        const { stdout } = await terminal.quietCurl(WEB, ["--max-time", "2", "-w", " %{http_code}\n", `${URL}?[1-${CALM_REQUESTS}]`]);
        const good = stdout.split("\n").filter((line) => line === "reviews v2").length;
        failed += CALM_REQUESTS - good;
        return good === CALM_REQUESTS;
      },
      { what: "traffic to avoid vm2" },
    );
    const seconds = ((performance.now() - from) / 1_000).toFixed(1);
    await waitUntil(async () => (await hosts()).some(({ name, state }) => name === "vm2" && state === "gone"), { what: "vm2 to be known as gone" });
    await terminal.ironmesh(["get", "hosts"]);
    await terminal.ironmesh(["get", "endpoints"]);
    assert.equal(vms.vm2.agent.isRunning(), false);
    narrator.command(WEB.vm, `curl -s '${URL}?[1-5]'`);
    const { stdout } = await terminal.quietCurl(WEB, [`${URL}?[1-5]`]);
    narrator.output(stdout);
    assert.equal(stdout, "reviews v2\n".repeat(5));
    narrator.proof(`after ${seconds} s every request went to vm3; until then ${failed} failed`);
  },
};
