import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { TaskGroup } from "../../base/task-group.ts";

/**
 * Hosts on one machine: each is a network namespace with an address of either
 * family on a bridge, and the bridge lies in a namespace of its own. Nothing is
 * put into the namespace of the caller, who must be alone in a private one
 * with a tmpfs on /run/netns.
 */
export interface NetworkLab {
  readonly hosts: Readonly<Record<string, LabHost>>;
  /** Ends what was started on the hosts, then the hosts. */
  close(): Promise<void>;
}

export interface LabHost {
  readonly name: string;
  /** Its name for `ip netns`. */
  readonly namespace: string;
  readonly addresses: { readonly v4: string; readonly v6: string };
  /** Put before a command, it runs on this host. It keeps the caller's mounts, which `ip netns exec` does not. */
  readonly commandPrefix: readonly string[];
  /** Runs a command to its end. A failing command is a result, not an exception. */
  run(command: string, args: readonly string[], options?: LabRunOptions): Promise<LabResult>;
  /** Starts a command that the lab ends when it closes, unless the caller does before. */
  spawn(command: string, args: readonly string[], options?: LabSpawnOptions): LabProcess;
  /** Starts an ordinary server that knows of no mesh: see `lab-application.mjs`. Resolves when all of its ports listen. */
  startApplication(options: LabApplicationOptions): Promise<LabProcess>;
}

export interface LabSpawnOptions {
  /** Runs as this user, with the group of the same number and no others. */
  readonly uid?: number;
  /** Added to the caller's environment. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface LabRunOptions extends LabSpawnOptions {
  readonly input?: string;
}

export interface LabResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface LabProcess {
  readonly child: ChildProcess;
  /** Everything it wrote so far. */
  readonly output: () => string;
  /** SIGTERM, then SIGKILL after two seconds; resolves when it is gone. */
  close(): Promise<void>;
}

export interface LabApplicationOptions {
  /** What it calls itself in every answer. */
  readonly name: string;
  /** The user it becomes before it listens, so that it needs no right to the runtime's or the script's folder. */
  readonly uid: number;
  readonly listeners: readonly LabListener[];
}

export interface LabListener {
  readonly port: number;
  /** The wildcard of both families unless told. */
  readonly address?: string;
  /** `http`: answers with JSON. `tcp`: greets with a line, then echoes. `relay`: greets, then pipes to `relayTo`. `udp` (needs an address): answers a datagram with its name. */
  readonly kind: "http" | "tcp" | "relay" | "udp";
  readonly relayTo?: { readonly host: string; readonly port: number; readonly localAddress?: string };
}

/** What the application's `http` listeners answer, as JSON. */
export interface LabHttpAnswer {
  readonly name: string;
  readonly port: number;
  /** The address that the connection came from, as the application saw it. */
  readonly peer: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

const APPLICATION = fileURLToPath(new URL("lab-application.mjs", import.meta.url));
const BRIDGE_NAMESPACE = "bridge";
const MAX_HOSTS = 200;

export async function createLab({ hosts: names }: { readonly hosts: readonly string[] }): Promise<NetworkLab> {
  if (names.length > MAX_HOSTS) throw new Error(`a lab has at most ${MAX_HOSTS} hosts`);
  await assertPrivate();
  const tasks = new TaskGroup();
  try {
    const hosts = names.map((name, index) => buildHost(name, index, tasks));
    await createBridge(tasks);
    for (const host of hosts) await connectHost(host, tasks);
    return { hosts: Object.fromEntries(hosts.map((host) => [host.name, host])), close: () => tasks.close() };
  } catch (failure) {
    await tasks.close();
    throw failure;
  }
}

async function assertPrivate(): Promise<void> {
  const mounts = await readFile("/proc/self/mounts", "utf8");
  if (!/^\S+ \/run\/netns tmpfs /m.test(mounts)) {
    throw new Error("a network lab needs namespaces of its own: run the test under runInPrivateNamespace (test/support/private-namespace.ts)");
  }
}

async function createBridge(tasks: TaskGroup): Promise<void> {
  await ip(["netns", "add", BRIDGE_NAMESPACE]);
  tasks.defer(() => ip(["netns", "delete", BRIDGE_NAMESPACE]));
  await ip(["-n", BRIDGE_NAMESPACE, "link", "add", "br0", "type", "bridge"]);
  await ip(["-n", BRIDGE_NAMESPACE, "link", "set", "br0", "up"]);
}

async function connectHost(host: LabHost, tasks: TaskGroup): Promise<void> {
  const { namespace, addresses } = host;
  await ip(["netns", "add", namespace]);
  tasks.defer(() => ip(["netns", "delete", namespace]));
  // Duplicate address detection would keep IPv6 from working for seconds.
  for (const scope of ["all", "default"]) await must(host.run("tee", [`/proc/sys/net/ipv6/conf/${scope}/accept_dad`], { input: "0" }), `accept_dad on ${host.name}`);
  const port = `p-${host.name}`.slice(0, 15);
  await ip(["link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", port, "netns", BRIDGE_NAMESPACE]);
  await ip(["-n", BRIDGE_NAMESPACE, "link", "set", port, "master", "br0", "up"]);
  await ip(["-n", namespace, "link", "set", "lo", "up"]);
  await ip(["-n", namespace, "address", "add", `${addresses.v4}/24`, "dev", "eth0"]);
  await ip(["-n", namespace, "address", "add", `${addresses.v6}/64`, "dev", "eth0", "nodad"]);
  await ip(["-n", namespace, "link", "set", "eth0", "up"]);
}

function buildHost(name: string, index: number, tasks: TaskGroup): LabHost {
  if (!/^[a-z][a-z0-9-]{0,11}$/.test(name) || name === BRIDGE_NAMESPACE) throw new Error(`${name} cannot name a host of a lab`);
  const commandPrefix = ["nsenter", `--net=/run/netns/${name}`];
  const start = (command: string, args: readonly string[], options: LabSpawnOptions): LabProcess => {
    const { uid, env = {} } = options;
    const asUser = uid === undefined ? [] : ["setpriv", "--reuid", `${uid}`, "--regid", `${uid}`, "--clear-groups"];
    return startProcess([...commandPrefix, ...asUser, command, ...args], env);
  };
  const spawnOwned = (command: string, args: readonly string[], options: LabSpawnOptions = {}): LabProcess => tasks.own(start(command, args, options));
  return {
    name,
    namespace: name,
    addresses: { v4: `10.77.0.${index + 1}`, v6: `fd77::${(index + 1).toString(16)}` },
    commandPrefix,
    spawn: spawnOwned,
    async run(command, args, options = {}) {
      const process = start(command, args, options);
      process.child.stdin?.end(options.input ?? "");
      return finished(process);
    },
    async startApplication(options) {
      const application = spawnOwned(process.execPath, [APPLICATION, JSON.stringify(options)]);
      await Promise.race([firstOutput(application), failed(application, options.name)]);
      return application;
    },
  };
}

const outputs = new WeakMap<ChildProcess, { stdout: string; stderr: string }>();

function startProcess(argv: readonly string[], env: Readonly<Record<string, string>>): LabProcess {
  const [file = "", ...args] = argv;
  const child = spawn(file, args, { stdio: "pipe", env: { ...process.env, ...env } });
  const output = { stdout: "", stderr: "" };
  outputs.set(child, output);
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output.stderr += text));
  // Written to by callers; a process that ended is judged by its exit code.
  child.stdin.on("error", () => {});
  const isGone = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => resolve());
  });
  return {
    child,
    output: () => output.stdout + output.stderr,
    async close() {
      child.kill("SIGTERM");
      const killer = setTimeout(() => child.kill("SIGKILL"), 2000);
      await isGone;
      clearTimeout(killer);
    },
  };
}

async function finished({ child }: LabProcess): Promise<LabResult> {
  const [code] = (await once(child, "close")) as [number | null];
  return { code: code ?? 255, ...(outputs.get(child) ?? { stdout: "", stderr: "" }) };
}

async function firstOutput({ child }: LabProcess): Promise<void> {
  if (child.stdout !== null) await once(child.stdout, "data");
}

async function failed(process: LabProcess, name: string): Promise<never> {
  await once(process.child, "close");
  throw new Error(`application ${name} did not start: ${process.output()}`);
}

async function ip(args: readonly string[]): Promise<void> {
  const process = startProcess(["ip", ...args], {});
  await must(finished(process), `ip ${args.join(" ")}`);
}

async function must(result: Promise<LabResult>, what: string): Promise<void> {
  const { code, stderr } = await result;
  if (code !== 0) throw new Error(`${what} failed: ${stderr.trim()}`);
}
