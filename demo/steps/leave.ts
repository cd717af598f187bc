import assert from "node:assert/strict";
import { networkState } from "../../test/support/network-state.ts";
import { whileRunning } from "../daemon.ts";
import { WEB } from "../mesh.ts";
import type { Step } from "../step.ts";
import { isReady } from "../world.ts";

export const leave: Step = {
  title: "vm1 leaves: its network is what it was before, to the byte",
  async run({ narrator, terminal, vms }) {
    const { agent, lab, untouched } = vms.vm1;
    const meshed = await networkState(lab);
    assert.notEqual(meshed, untouched, "the agent changed nothing, so there is nothing to undo");
    narrator.command("vm1", "systemctl kill --signal=SIGUSR2 ironmesh-agent");
    await agent.leave();
    for (const [command, ...args] of [["nft", "list", "ruleset"], ["iptables-save"], ["ip6tables-save"], ["ip", "rule", "show"], ["ip", "route", "show"]] as const) {
      narrator.command("vm1", [command, ...args].join(" "));
      narrator.output((await lab.run(command, args)).stdout);
    }
    assert.equal(await networkState(lab), untouched);
    narrator.proof(`${meshed.split("\n").length - untouched.split("\n").length} lines of rules, routes and addresses are gone, and nothing else`);

    narrator.command("vm1", "systemctl start ironmesh-agent");
    agent.start();
    await whileRunning(agent, "vm1 to be ready again", () => isReady(lab));
    assert.equal(await terminal.curl(WEB, ["http://reviews.default:8080/version"]), "reviews v2\n");
    narrator.proof("and it comes back, with the identity that it has");
  },
};
