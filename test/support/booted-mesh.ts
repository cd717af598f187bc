import { dirname, join } from "node:path";
import { TaskGroup } from "../../base/task-group.ts";
import { bootHost } from "./booted-host.ts";
import type { BootedHost } from "./booted-host.ts";
import { envoyPath } from "./envoy.ts";
import type { LabApplicationOptions } from "./network-lab.ts";
import { createLab } from "./network-lab.ts";
import { waitUntil } from "./wait-until.ts";

/** Three booted hosts: a control plane, and two with an agent, all of them services as users install them. */
export interface BootedMesh {
  readonly control: BootedHost;
  readonly vm1: BootedHost;
  readonly vm2: BootedHost;
  /** `ironmesh ARGS…` on the control plane's host; gives what it printed. */
  ironmesh(args: string, input?: string): Promise<string>;
  close(): Promise<void>;
}

/** One answer that a client of booted-client.mjs had. */
export interface ClientAnswer {
  readonly pid: number;
  readonly status?: number;
  /** The SPIFFE ID that the callee's proxy saw, or `nobody`. */
  readonly caller?: string;
  readonly error?: string;
}

const root = join(import.meta.dirname, "..", "..");
export const PROJECT = "/opt/ironmesh";
export const NODE = `${PROJECT}/node_modules/.bin/node`;
const ENVOY_FOLDER = "/var/cache/ironmesh/bin";

export interface BootedHosts<Name extends string> {
  readonly hosts: Readonly<Record<Name, BootedHost>>;
  readonly close: () => Promise<void>;
}

/** Boots hosts of these names, with the project where the guide puts it and nothing set up. */
export async function bootHosts<Name extends string>(image: string, names: readonly Name[]): Promise<BootedHosts<Name>> {
  const tasks = new TaskGroup();
  try {
    const lab = tasks.own(await createLab({ hosts: names }));
    const shows = { [PROJECT]: root, [ENVOY_FOLDER]: dirname(envoyPath()) };
    const booted = await Promise.all(Object.values(lab.hosts).map((host) => bootHost(host, { image, shows })));
    return { hosts: Object.fromEntries(booted.map((host) => [host.name, host])) as Record<Name, BootedHost>, close: () => tasks.close() };
  } catch (failure) {
    await tasks.close();
    throw failure;
  }
}

/** What hosts run, by their name: the `workloads` of their agent.yaml. */
export type HostWorkloads = Readonly<Record<"vm1" | "vm2", readonly { readonly group: string; readonly bind: Readonly<Record<string, unknown>> }[]>>;

export async function startBootedMesh(image: string, mesh: string, workloads: HostWorkloads): Promise<BootedMesh> {
  const { hosts, close } = await bootHosts(image, ["control", "vm1", "vm2"]);
  const { control, vm1, vm2 } = hosts;
  const ironmesh = async (args: string, input = ""): Promise<string> => {
    const { code, stdout, stderr } = await control.run("sh", ["-c", `${NODE} ${PROJECT}/cli/main.ts ${args}`], { input });
    if (code !== 0) throw new Error(`ironmesh ${args} failed: ${stderr}`);
    return stdout;
  };
  try {
    await control.write("/etc/ironmesh/control-plane.yaml", "configDir: /etc/ironmesh/mesh\n");
    await control.write("/etc/ironmesh/mesh/mesh.yaml", mesh);
    await installUnits(control, ["ironmesh-control-plane.service"]);
    await waitUntil(() => ironmesh("get config"), { what: "the control plane's API" });
    await Promise.all(
      [vm1, vm2].map(async (host) => {
        const bound = workloads[host.name as "vm1" | "vm2"];
        const token = await ironmesh(`token create ${bound.map(({ group }) => `--group ${group}`).join(" ")}`);
        await joinHost(host, { address: control.addresses.v4, token: tokenIn(token), workloads: bound });
      }),
    );
    return { control, vm1, vm2, ironmesh, close };
  } catch (failure) {
    const logs = await Promise.all(Object.values(hosts).map(journalOf));
    await close();
    throw new Error(`the mesh did not come up:\n${logs.join("\n")}`, { cause: failure });
  }
}

/** The token in what `ironmesh token create` printed. */
export function tokenIn(printed: string): string {
  return printed.split("\n")[0]?.trim() ?? "";
}

/** As the guide says it: copies of the units, the first enabled and started. */
async function installUnits(host: BootedHost, names: readonly string[]): Promise<void> {
  const files = names.map((name) => `${PROJECT}/systemd/${name}`).join(" ");
  await host.shell(`cp ${files} /etc/systemd/system/ && systemctl enable --now ${names[0] ?? ""}`);
}

interface JoinOptions {
  readonly address: string;
  readonly token: string;
  readonly workloads: HostWorkloads["vm1"];
}

async function joinHost(host: BootedHost, { address, token, workloads }: JoinOptions): Promise<void> {
  await host.shell("useradd --system --no-create-home --shell /usr/sbin/nologin ironmesh-proxy");
  for (const { bind } of workloads) if (typeof bind["uid"] === "string") await host.shell(`useradd ${bind["uid"]}`);
  await host.write("/etc/ironmesh/token", token);
  const config = { controlPlane: { address }, joinTokenFile: "/etc/ironmesh/token", envoy: { path: `${ENVOY_FOLDER}/envoy`, drainSeconds: 1 }, dns: { mode: "capture" }, workloads };
  // JSON is YAML.
  await host.write("/etc/ironmesh/agent.yaml", JSON.stringify(config));
  await installUnits(host, ["ironmesh-agent.service", "ironmesh-guard.service", "ironmesh-dns.socket", "ironmesh-dns.service"]);
  await waitUntilReady(host);
}

/** Until the agent says that nothing is missing. */
export async function waitUntilReady(host: BootedHost): Promise<void> {
  await waitUntil(async () => (await host.run("curl", ["-sf", "localhost:15021/healthz/ready"])).code === 0, { what: `the agent of ${host.name} to be ready`, intervalMs: 200 });
}

/**
 * Whether rules of this host match its own control groups. Before Linux 6.11
 * (and corrected releases) the kernel counts levels from the machine's root.
 */
export async function matchesControlGroups(host: BootedHost): Promise<boolean> {
  const rules = 'table inet probe { chain output { type filter hook output priority 0; udp dport 9 socket cgroupv2 level 1 "probe.slice" counter; }; }';
  const packet = "exec 3> /dev/udp/127.0.0.1/9 && echo probe >&3";
  await host.shell(`mkdir -p /sys/fs/cgroup/probe.slice && nft '${rules}' && systemd-run --wait --quiet --collect --slice=probe.slice bash -c '${packet}'`);
  const counted = await host.shell("nft list table inet probe");
  await host.shell("nft delete table inet probe; systemctl stop probe.slice");
  return !counted.includes("packets 0 ");
}

/** The last of what the project's services logged. */
export async function journalOf(host: BootedHost): Promise<string> {
  const { stdout } = await host.run("sh", ["-c", `journalctl -o cat -u 'ironmesh-*' | grep -v '"authority"' | tail -n 40`]);
  return `── ${host.name}\n${stdout}`;
}

/** The text of a unit that runs an application of the lab. */
export function applicationUnit(options: LabApplicationOptions): string {
  return unitText(`${NODE} ${PROJECT}/test/support/lab-application.mjs '${JSON.stringify(options)}'`);
}

/** A command that asks `url` for ever, and prints a line for each answer. */
export function clientCommand(url: string): string {
  return `${NODE} ${PROJECT}/test/support/booted-client.mjs ${url}`;
}

/** The text of a unit that asks `url` for ever, and writes its answers to a file of the unit's name. */
export function clientUnit(name: string, url: string, user: string): string {
  return unitText(clientCommand(url), `User=${user}\nStandardOutput=append:${answersPath(name)}\n`);
}

/** The text of a unit that runs a command of ours. */
export function unitText(command: string, more = ""): string {
  return `[Service]\nExecStart=${command}\n${more}[Install]\nWantedBy=multi-user.target\n`;
}

function answersPath(name: string): string {
  return `/var/log/${name}.answers`;
}

/** How many answers the client of this unit had, ever. */
export async function countAnswers(host: BootedHost, name: string): Promise<number> {
  return (await answersSince(host, name, 0)).length;
}

/** The answers after the first `count`. */
export async function answersSince(host: BootedHost, name: string, count: number): Promise<readonly ClientAnswer[]> {
  const { stdout } = await host.run("tail", ["-n", `+${count + 1}`, answersPath(name)]);
  return stdout.split("\n").filter((line) => line.endsWith("}")).map((line) => JSON.parse(line) as ClientAnswer);
}
