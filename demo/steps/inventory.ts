import assert from "node:assert/strict";
import { waitUntil } from "../../test/support/wait-until.ts";
import { VM_NAMES } from "../mesh.ts";
import type { Step } from "../step.ts";

export const inventory: Step = {
  title: "Three hosts have joined with one-use tokens, and the mesh knows their services",
  async run({ narrator, terminal, hosts, proxies }) {
    await waitUntil(async () => (await proxies()).length === VM_NAMES.length && (await proxies()).every(isSynced), { what: "every proxy to take what it was sent" });
    const listed = await terminal.ironmesh(["get", "hosts"]);
    for (const vm of VM_NAMES) assert.match(listed, new RegExp(String.raw`\b${vm}\b`), `${vm} is not listed`);
    assert.deepEqual((await hosts()).map(({ state }) => state), ["connected", "connected", "connected"]);
    narrator.proof("every host is enrolled and connected");

    const services = await terminal.ironmesh(["get", "services"]);
    assert.match(services, /\breviews\.default\.svc\.mesh\.internal\b/);
    assert.match(services, /\bratings\.default\.svc\.mesh\.internal\b/);
    await terminal.ironmesh(["get", "endpoints"]);
    narrator.proof("services have virtual addresses, and endpoints on the hosts");

    assert.doesNotMatch(await terminal.ironmesh(["proxy-status"]), /STALE|REJECTED/);
    narrator.proof("every Envoy took everything that it was sent");
  },
};

function isSynced({ connected, types }: { readonly connected: boolean; readonly types: readonly { readonly state: string }[] }): boolean {
  return connected && types.length > 0 && types.every(({ state }) => state === "SYNCED" || state === "NOT SENT");
}
