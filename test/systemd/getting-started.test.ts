import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { bootedImagePath } from "../support/booted-image.ts";
import type { BootedHost } from "../support/booted-host.ts";
import { applicationUnit, bootHosts, journalOf, tokenIn, waitUntilReady } from "../support/booted-mesh.ts";
import { waitUntil } from "../support/wait-until.ts";

const image = bootedImagePath();
const ADDRESS_ON_PAGE = "10.0.0.1";
const page = readFileSync(join(import.meta.dirname, "../../docs/getting-started.md"), "utf8");

/** The fenced blocks of a numbered section: commands, or a file. */
function blocksOf(section: number): readonly string[] {
  const [, text = ""] = new RegExp(`^## ${section}\\. .*$([\\s\\S]*?)(?=^## |(?![\\s\\S]))`, "m").exec(page) ?? [];
  return [...text.matchAll(/^```\w*\n([\s\S]*?)^```$/gm)].map((match) => match[1] ?? "");
}

/** Exactly so many blocks: a new one must be gone through too. */
function blocks(section: number, count: number): readonly string[] {
  const found = blocksOf(section);
  assert.equal(found.length, count, `blocks of section ${section}`);
  return found;
}

(image === undefined ? describe.skip : describe)(image === undefined ? "docs/getting-started.md, step by step (no image of a host to boot)" : "docs/getting-started.md, step by step", () => {
  let hosts: Readonly<Record<"control" | "vm1" | "vm2", BootedHost>>;
  let close = async (): Promise<void> => {};
  const [clone = ""] = blocksOf(1);
  const alias = clone.split("\n").find((line) => line.startsWith("alias ")) ?? "";

  /** Types a block into a shell of root that has the page's alias; gives what it printed. */
  const type = async (host: BootedHost, block: string, input = ""): Promise<string> => {
    const script = `shopt -s expand_aliases\n${alias}\nset -e\n${block}`;
    const { code, stdout, stderr } = await host.run("bash", ["-c", script], { input });
    assert.equal(code, 0, `on ${host.name}: ${block}\n${stdout}${stderr}`);
    return stdout;
  };
  const write = (host: BootedHost, path: string, content: string): Promise<void> => {
    assert.ok(page.includes(`\`${path}\``), `the page names ${path}`);
    return host.write(path, content.replaceAll(ADDRESS_ON_PAGE, hosts.control.addresses.v4));
  };
  const ask = async (host: BootedHost, user: string, url: string): Promise<string> =>
    (await host.run("runuser", ["-u", user, "--", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url])).stdout;

  before(async () => {
    ({ hosts, close } = await bootHosts(image ?? "", ["control", "vm1", "vm2"]));
    await hosts.vm2.write("/etc/systemd/system/reviews.service", applicationUnit({ name: "reviews", uid: 990, listeners: [{ port: 9080, kind: "http" }] }));
    await hosts.vm2.shell("systemctl enable --now reviews");
    await hosts.vm1.shell("useradd web");
  });
  after(() => close());
  afterEach(async function () {
    if (this.currentTest?.state !== "failed") return;
    for (const host of Object.values(hosts)) console.log(await journalOf(host));
  });

  it("2: starts the control plane", async () => {
    // The others are about Consul and Kubernetes, which have tests of their own.
    const [config = "", start = ""] = blocks(2, 6);
    await write(hosts.control, "/etc/ironmesh/control-plane.yaml", config);
    await type(hosts.control, start);
    await waitUntil(async () => (await hosts.control.run("curl", ["-sf", "127.0.0.1:15014/readyz"])).code === 0, { what: "the control plane to be ready" });
  });

  it("3: says what there is", async () => {
    const [resources = ""] = blocks(3, 1);
    await write(hosts.control, "/etc/ironmesh/mesh/reviews.yaml", resources);
    const listed = await waitUntil(
      async () => {
        const printed = await type(hosts.control, "ironmesh get config");
        return /IM0214/.test(printed) ? printed : "";
      },
      { what: "the resources, with the warning that the page names" },
    );
    assert.match(listed, /WorkloadGroup\s+default\s+web\s+accepted/);
  });

  it("4: lets the hosts in", async () => {
    const [tokens = "", prepare = "", server = "", client = "", start = ""] = blocks(4, 5);
    const [forWeb = "", forReviews = ""] = (await type(hosts.control, tokens)).split("\n");
    const onClient = server.slice(0, server.indexOf("workloads:")) + client;
    for (const [host, token, config] of [[hosts.vm1, forWeb, onClient], [hosts.vm2, forReviews, server]] as const) {
      await type(host, prepare, `${tokenIn(token)}\n`);
      await write(host, "/etc/ironmesh/agent.yaml", config);
      // The last line asks a moment too early whether it is ready.
      await type(host, start.replace(/^curl .*$/m, ""));
    }
    for (const host of [hosts.vm1, hosts.vm2]) await waitUntilReady(host);
    assert.equal(await type(hosts.vm1, /^curl .*$/m.exec(start)?.[0] ?? "false"), "ready\n");
  });

  it("5: looks", async () => {
    const [call = "", look = ""] = blocks(5, 2);
    const answer = await waitUntil(async () => type(hosts.vm1, call).catch(() => ""), { what: "an answer of reviews to web" });
    const { name, headers } = JSON.parse(answer) as { name: string; headers: Record<string, string> };
    assert.equal(name, "reviews");
    assert.match(headers["x-forwarded-client-cert"] ?? "", /URI=spiffe:\/\/mesh\.internal\/ns\/default\/sa\/web/);
    const printed = await type(hosts.control, look);
    for (const word of [/\bvm1\s+connected/, /\bvm2\s+connected/, /mutual/, /sa\/reviews/]) assert.match(printed, word);
  });

  it("6: changes something", async () => {
    const [apply = ""] = blocks(6, 1);
    const plaintext = `http://${hosts.vm2.addresses.v4}:9080/`;
    assert.equal(await ask(hosts.vm1, "nobody", plaintext), "200", "before, whoever calls is let in");
    await type(hosts.control, apply);
    await waitUntil(async () => (await ask(hosts.vm1, "nobody", plaintext)) === "000", { what: "plaintext to be refused" });
    assert.equal(await ask(hosts.vm1, "web", "http://reviews.default.svc.mesh.internal:8080/"), "200");
    await type(hosts.control, "ironmesh delete AuthorizationPolicy default/reviews");
  });

  it("7: restarts and leaves", async () => {
    const [leave = ""] = blocks(7, 1);
    await type(hosts.vm1, "systemctl restart ironmesh-agent");
    await waitUntilReady(hosts.vm1);
    await type(hosts.vm1, leave);
    const isGone = async (): Promise<boolean> => (await hosts.vm1.run("systemctl", ["is-active", "ironmesh-agent"])).stdout.trim() === "inactive";
    await waitUntil(isGone, { what: "the agent to end, and not to be started again" });
    assert.equal(await type(hosts.vm1, "nft list ruleset"), "");
    assert.match(await type(hosts.vm1, "pgrep envoy || echo none"), /^none$/m);
  });
});
