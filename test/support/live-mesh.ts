import { chmod, mkdir, mkdtemp, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { TaskGroup } from "../../base/task-group.ts";
import { apiClient, type ApiClient } from "../../cli/api-client.ts";
import { createDaemon, type Daemon, ironmeshCommand } from "../../demo/daemon.ts";
import type { ServiceView } from "../../discovery/http/api.ts";
import { envoyPath } from "./envoy.ts";
import { runIronmesh } from "./ironmesh.ts";
import { createLab, type LabHost } from "./network-lab.ts";
import { waitUntil } from "./wait-until.ts";
import type { HttpAnswer, MeshCall } from "./mesh-scenario.ts";

/** A workload of a host, under a user of its own. */
export interface LiveWorkload {
  readonly name: string;
  readonly group: string;
  readonly uid: number;
  /** Ports of a `mesh-application.mjs` that is it. */
  readonly http?: readonly number[];
}

export interface LiveMeshOptions {
  readonly hosts: Readonly<Record<string, readonly LiveWorkload[]>>;
  /** What is written into `mesh.yaml` of the configuration directory. */
  readonly yaml: string;
  /** Rules of the control plane's configuration. */
  readonly sameness?: readonly object[];
  /** How long Envoy may finish what it does; 1 unless told. */
  readonly drainSeconds?: number;
  /** Roots that the hosts' Envoys may trust; the agent's default unless told. */
  readonly trustedRoots?: readonly string[];
  /** Of the control plane, beside the caller's. */
  readonly controlPlaneEnv?: Readonly<Record<string, string>>;
  /** Hosts beside the mesh, and what is made of them and the control plane's host before it starts: its registries. */
  readonly beside?: {
    readonly hosts: readonly string[];
    readonly prepare: (hosts: Readonly<Record<string, LabHost>>, control: LabHost) => Promise<readonly object[]>;
  };
}

/** One host: an agent that is a process, and its Envoy. */
export interface LiveHost {
  readonly lab: LabHost;
  readonly agent: Daemon;
  readonly folder: string;
  /** What the agent tells of itself; undefined while it does not answer. */
  status(): Promise<LiveStatus | undefined>;
  isReady(): Promise<boolean>;
  /** Names and ids of the processes that run on it: `envoy`, `node`, and what else there is. */
  processes(): Promise<readonly { readonly pid: number; readonly name: string }[]>;
  /** Makes it a machine that was never in the mesh, with a new token. Its agent has left. */
  forget(): Promise<void>;
}

export interface LiveStatus {
  readonly hostId?: string;
  readonly openTasks: readonly string[];
  readonly configuration: { readonly from?: string; readonly envoyInSync?: boolean };
  readonly envoy?: { readonly pid?: number; readonly adopted?: boolean };
  readonly capture?: { readonly state?: string };
}

/** A control plane and hosts as they are in production: each a process, each host in a network namespace. */
export interface LiveMesh {
  readonly hosts: Readonly<Record<string, LiveHost>>;
  readonly controlPlane: Daemon;
  readonly api: ApiClient;
  /** The path of a file in the configuration directory. */
  configPath(name: string): string;
  ironmesh(...args: string[]): Promise<string>;
  /** Writes a file of the configuration directory, or removes it. */
  configure(name: string, yaml: string | undefined): Promise<void>;
  /** The virtual IPv4 address of `NAMESPACE/NAME`. */
  vip(service: string): Promise<string>;
  http(from: string, call: MeshCall): Promise<HttpAnswer[]>;
  close(): Promise<void>;
}

export const LIVE_PROXY_UID = 2_000;
const AGENT_PORT = 15_012;
const STATUS_PORT = 15_020;
const READINESS_PORT = 15_021;
const CLIENT = fileURLToPath(new URL("mesh-client.mjs", import.meta.url));
const APPLICATION = fileURLToPath(new URL("mesh-application.mjs", import.meta.url));

/** Starts the control plane, applications and everything that the agents need but themselves. */
export async function startLiveMesh(options: LiveMeshOptions): Promise<LiveMesh> {
  const tasks = new TaskGroup();
  try {
    return await start(options, tasks);
  } catch (failure) {
    await tasks.close();
    throw failure;
  }
}

async function start({ hosts: workloads, yaml, sameness = [], drainSeconds = 1, trustedRoots, controlPlaneEnv = {}, beside }: LiveMeshOptions, tasks: TaskGroup): Promise<LiveMesh> {
  const folder = await mkdtemp(join(tmpdir(), "ironmesh-live-"));
  tasks.defer(() => rm(folder, { recursive: true, force: true }));
  await chmod(folder, 0o755);
  const names = Object.keys(workloads);
  const lab = tasks.own(await createLab({ hosts: ["control", ...names, ...(beside?.hosts ?? [])] }));
  const control = lab.hosts["control"] as LabHost;
  const [configDir, apiSocket] = [join(folder, "mesh"), join(folder, "api.sock")];
  await mkdir(configDir);
  await writeFile(join(configDir, "mesh.yaml"), yaml);
  const registries = (await beside?.prepare(lab.hosts, control)) ?? [];
  const configPath = join(folder, "control-plane.yaml");
  await writeFile(configPath, stringify({ configDir, stateDir: join(folder, "control"), registries, sameness, listen: { agents: [{ host: control.addresses.v4, port: AGENT_PORT }], apiSocket } }));
  const controlPlane = createDaemon({ name: "control-plane", host: control, command: ["env", ...Object.entries(controlPlaneEnv).map(([name, value]) => `${name}=${value}`), ...ironmeshCommand("control-plane", "--config", configPath)], logPath: join(folder, "control-plane.log") });
  const api = apiClient(apiSocket);
  controlPlane.start();
  await waitUntil(() => api.get("/readyz"), { what: "the control plane to be ready" });

  const hosts: Record<string, LiveHost> = {};
  for (const name of names) {
    const host = lab.hosts[name] as LabHost;
    hosts[name] = await prepareHost({ host, folder: join(folder, name), workloads: workloads[name] ?? [], controlAddress: control.addresses.v4, apiSocket, drainSeconds, ...(trustedRoots === undefined ? {} : { trustedRoots }) });
  }
  return {
    hosts,
    controlPlane,
    api,
    configPath: (name) => join(configDir, name),
    ironmesh: (...args) => runIronmesh(apiSocket, args),
    configure: (name, text) => (text === undefined ? rm(join(configDir, name)) : writeFile(join(configDir, name), text)),
    async vip(service) {
      const services = (await api.get("/api/v1/services")) as ServiceView[];
      const found = services.find(({ namespace, name }) => `${namespace}/${name}` === service)?.vips[0];
      if (found === undefined) throw new Error(`${service} has no virtual address`);
      return found;
    },
    async http(from, call) {
      const { stdout, stderr } = await (hosts[from] as LiveHost).lab.run(process.execPath, [CLIENT, JSON.stringify(call)]);
      if (stdout === "") throw new Error(`the client failed: ${stderr}`);
      return JSON.parse(stdout) as HttpAnswer[];
    },
    close: () => tasks.close(),
  };
}

interface HostPreparation {
  readonly host: LabHost;
  readonly folder: string;
  readonly workloads: readonly LiveWorkload[];
  readonly controlAddress: string;
  readonly apiSocket: string;
  readonly drainSeconds: number;
  readonly trustedRoots?: readonly string[];
}

async function prepareHost({ host, folder, workloads, controlAddress, apiSocket, drainSeconds, trustedRoots }: HostPreparation): Promise<LiveHost> {
  await mkdir(folder);
  for (const { name, uid, http } of workloads) {
    if (http === undefined) continue;
    const application = host.spawn(process.execPath, [APPLICATION, JSON.stringify({ name, uid, http })]);
    await waitUntil(() => application.output().includes("listening"), { what: `${name} to listen` });
  }
  const joinTokenFile = join(folder, "token");
  const forget = async (): Promise<void> => {
    await rm(join(folder, "state"), { recursive: true, force: true });
    await rm(join(folder, "run"), { recursive: true, force: true });
    await writeFile(joinTokenFile, await runIronmesh(apiSocket, ["token", "create", ...workloads.flatMap(({ group }) => ["--group", group])]), { mode: 0o600 });
  };
  // The group may be one that the control plane has still to read elsewhere.
  await waitUntil(() => forget().then(() => true), { what: `a token for ${host.name}` });
  const configPath = join(folder, "agent.yaml");
  const config = {
    hostName: host.name,
    controlPlane: { address: `${controlAddress}:${AGENT_PORT}` },
    joinTokenFile,
    stateDir: join(folder, "state"),
    runDir: join(folder, "run"),
    addresses: [host.addresses.v4],
    workloads: workloads.map(({ name, group, uid }) => ({ name, group, bind: { uid } })),
    envoy: { path: envoyPath(), user: LIVE_PROXY_UID, concurrency: 1, drainSeconds, ...(trustedRoots === undefined ? {} : { trustedRoots }) },
    dns: { mode: "off" },
  };
  await writeFile(configPath, stringify(config));
  const curl = (url: string): ReturnType<LabHost["run"]> => host.run("curl", ["--silent", "--fail", "--max-time", "2", url]);
  return {
    lab: host,
    agent: createDaemon({ name: `agent of ${host.name}`, host, command: ironmeshCommand("agent", "--config", configPath), logPath: join(folder, "agent.log") }),
    folder,
    async status() {
      const { code, stdout } = await curl(`http://127.0.0.1:${STATUS_PORT}/status`);
      return code === 0 ? (JSON.parse(stdout) as LiveStatus) : undefined;
    },
    async processes() {
      const { stdout } = await host.run("ip", ["netns", "pids", host.namespace]);
      const pids = stdout.split("\n").filter(Boolean).map(Number);
      const all = await Promise.all(pids.map(async (pid) => ({ pid, name: await nameOf(pid) })));
      return all.filter(({ name }) => name !== "");
    },
    forget,
    isReady: async () => (await curl(`http://127.0.0.1:${READINESS_PORT}/healthz/ready`)).code === 0,
  };
}

/** Of the program that a process runs; empty for one that has ended. */
async function nameOf(pid: number): Promise<string> {
  const path = await readlink(`/proc/${pid}/exe`).catch(() => "");
  return basename(path).replace(/^envoy.*/, "envoy");
}
