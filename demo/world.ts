import { constants } from "node:fs";
import { access, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { TaskGroup } from "../base/task-group.ts";
import { apiClient } from "../cli/api-client.ts";
import type { EndpointView, HostView, ProxyView, RegistryView } from "../discovery/http/api.ts";
import { envoyPath } from "../test/support/envoy.ts";
import type { KubernetesPrograms } from "../test/support/kubernetes.ts";
import { createLab } from "../test/support/network-lab.ts";
import type { LabHost } from "../test/support/network-lab.ts";
import { networkState } from "../test/support/network-state.ts";
import { waitUntil } from "../test/support/wait-until.ts";
import { CONSUL_HOSTS, startConsul } from "./consul.ts";
import type { ConsulCluster } from "./consul.ts";
import { createDaemon, ironmeshCommand, whileRunning } from "./daemon.ts";
import type { Daemon } from "./daemon.ts";
import { KUBERNETES_HOSTS, startKubernetes } from "./kubernetes.ts";
import type { KubernetesCluster } from "./kubernetes.ts";
import { MESH_YAML, PROXY_UID, VM_NAMES, WORKLOADS } from "./mesh.ts";
import type { VmName } from "./mesh.ts";
import type { Narrator } from "./narrator.ts";
import { pointResolverAtMesh } from "./resolver.ts";
import { APPLICATIONS, createTerminal } from "./terminal.ts";
import type { Terminal } from "./terminal.ts";

/** A control plane and three hosts with applications, and a terminal to look at them. */
export interface World {
  readonly narrator: Narrator;
  readonly terminal: Terminal;
  readonly vms: Readonly<Record<VmName, Vm>>;
  readonly controlPlane: Daemon;
  /** Beside the mesh, where the person asked for it. */
  readonly consul: ConsulCluster | undefined;
  readonly kubernetes: KubernetesCluster | undefined;
  /** The folder of everything that the world wrote. */
  readonly folder: string;
  readonly apiSocket: string;
  readonly hosts: () => Promise<readonly HostView[]>;
  readonly proxies: () => Promise<readonly ProxyView[]>;
  readonly registries: () => Promise<readonly RegistryView[]>;
  /** @param service `NAMESPACE/NAME` */
  readonly endpoints: (service: string) => Promise<readonly EndpointView[]>;
  /** A host's resources of one type, as JSON text: for waits. */
  readonly proxyConfig: (word: "routes" | "clusters" | "listeners" | "endpoints", vm: VmName) => Promise<string>;
  close(): Promise<void>;
}

export interface Vm {
  readonly name: VmName;
  readonly lab: LabHost;
  readonly agent: Daemon;
  /** Its rules, routes and addresses before the agent first started. */
  readonly untouched: string;
}

/** In the private tmpfs of `runInPrivateNamespace`: gone with the namespace, however it ends. */
export const WORLD_FOLDER = "/dev/shm/ironmesh-demo";
const AGENT_PORT = 15_012;
const READINESS_PORT = 15_021;

/** Registries to have beside the mesh, with the programs that they are. */
export interface Neighbours {
  readonly consulPath?: string | undefined;
  readonly kubernetesPrograms?: KubernetesPrograms | undefined;
}

/** Starts everything, and resolves when every host is enrolled and its proxy has what it needs. */
export async function startWorld(narrator: Narrator, neighbours: Neighbours = {}): Promise<World> {
  const tasks = new TaskGroup();
  try {
    return await build(narrator, neighbours, tasks);
  } catch (failure) {
    await tasks.close();
    throw failure;
  }
}

async function build(narrator: Narrator, { consulPath, kubernetesPrograms }: Neighbours, tasks: TaskGroup): Promise<World> {
  const envoy = envoyPath();
  await access(envoy, constants.X_OK);
  await mkdir(join(WORLD_FOLDER, "log"), { recursive: true, mode: 0o755 });
  await pointResolverAtMesh(WORLD_FOLDER);
  const lab = tasks.own(await createLab({ hosts: ["control", ...VM_NAMES, ...(consulPath === undefined ? [] : CONSUL_HOSTS), ...(kubernetesPrograms === undefined ? [] : KUBERNETES_HOSTS)] }));
  const host = (name: string): LabHost => {
    const found = lab.hosts[name];
    if (found === undefined) throw new Error(`the lab has no host ${name}`);
    return found;
  };
  const hosts = { control: host("control"), vm1: host("vm1"), vm2: host("vm2"), vm3: host("vm3") };
  const apiSocket = join(WORLD_FOLDER, "control-plane.sock");
  const api = apiClient(apiSocket);
  const terminal = createTerminal({ hosts, apiSocket, narrator });

  const consul = consulPath === undefined ? undefined : await startConsul({ path: consulPath, host, folder: WORLD_FOLDER, terminal });
  const kubernetes = kubernetesPrograms === undefined ? undefined : await startKubernetes({ programs: kubernetesPrograms, host, folder: WORLD_FOLDER, terminal });
  const controlPlane = await prepareControlPlane(hosts.control, apiSocket, consul, kubernetes);
  controlPlane.start();
  await whileRunning(controlPlane, "the control plane to serve its API", async () => (await api.get("/readyz")) !== undefined);

  const vms = {
    vm1: await prepareVm("vm1", hosts.vm1, hosts.control.addresses.v4, envoy, terminal),
    vm2: await prepareVm("vm2", hosts.vm2, hosts.control.addresses.v4, envoy, terminal),
    vm3: await prepareVm("vm3", hosts.vm3, hosts.control.addresses.v4, envoy, terminal),
  };
  for (const vm of Object.values(vms)) vm.agent.start();
  for (const vm of Object.values(vms)) await whileRunning(vm.agent, `${vm.name} to be ready`, () => isReady(vm.lab));

  return {
    narrator,
    terminal,
    vms,
    controlPlane,
    consul,
    kubernetes,
    folder: WORLD_FOLDER,
    apiSocket,
    hosts: async () => (await api.get("/api/v1/hosts")) as HostView[],
    proxies: async () => (await api.get("/api/v1/proxies")) as ProxyView[],
    registries: async () => (await api.get("/api/v1/registries")) as RegistryView[],
    endpoints: async (service) => (await api.get(`/api/v1/endpoints?service=${encodeURIComponent(service)}`)) as EndpointView[],
    proxyConfig: async (word, vm) => JSON.stringify(await api.get(`/api/v1/proxies/${vm}/${word}`)),
    close: () => tasks.close(),
  };
}

async function prepareControlPlane(host: LabHost, apiSocket: string, consul: ConsulCluster | undefined, kubernetes: KubernetesCluster | undefined): Promise<Daemon> {
  const folder = join(WORLD_FOLDER, "control");
  const configDir = join(folder, "mesh");
  await mkdir(configDir, { recursive: true });
  await writeFile(join(configDir, "mesh.yaml"), MESH_YAML);
  const configPath = join(folder, "control-plane.yaml");
  await writeFile(
    configPath,
    stringify({
      configDir,
      stateDir: join(folder, "state"),
      listen: { agents: [{ host: host.addresses.v4, port: AGENT_PORT }], apiSocket },
      registries: [
        ...(consul === undefined ? [] : [{ kind: "consul", address: consul.address, tokenFile: consul.tokenFile, publish: { selector: { consul: "yes" } } }]),
        ...(kubernetes === undefined ? [] : [{ kind: "kubernetes", kubeconfig: kubernetes.kubeconfig }]),
      ],
    }),
  );
  return createDaemon({ name: "control-plane", host, command: ironmeshCommand("control-plane", "--config", configPath), logPath: join(WORLD_FOLDER, "log", "control-plane.log") });
}

async function prepareVm(name: VmName, host: LabHost, controlAddress: string, envoy: string, terminal: Terminal): Promise<Vm> {
  const folder = join(WORLD_FOLDER, name);
  await mkdir(folder, { recursive: true });
  for (const { name: workload, application } of WORKLOADS[name]) {
    if (application !== undefined) await startApplication(host, workload, application.file, application.options);
  }
  const tokenPath = join(folder, "join-token");
  const groups = WORKLOADS[name].flatMap(({ group }) => ["--group", group]);
  await writeFile(tokenPath, await terminal.ironmesh(["token", "create", ...groups], { isQuiet: true }), { mode: 0o600 });
  const configPath = join(folder, "agent.yaml");
  await writeFile(
    configPath,
    stringify({
      hostName: name,
      controlPlane: { address: `${controlAddress}:${AGENT_PORT}` },
      joinTokenFile: tokenPath,
      stateDir: join(folder, "state"),
      runDir: join(folder, "run"),
      addresses: [host.addresses.v4, host.addresses.v6],
      workloads: WORKLOADS[name].map((workload) => ({ name: workload.name, group: workload.group, bind: { uid: workload.uid } })),
      envoy: { path: envoy, user: PROXY_UID, concurrency: 1, drainSeconds: 1 },
      dns: { mode: "capture" },
    }),
  );
  const agent = createDaemon({ name: `agent of ${name}`, host, command: ironmeshCommand("agent", "--config", configPath), logPath: join(WORLD_FOLDER, "log", `${name}.log`) });
  return { name, lab: host, agent, untouched: await networkState(host) };
}

/** Resolves when the application listens. */
export async function startApplication(host: LabHost, name: string, file: string, options: Readonly<Record<string, unknown>>): Promise<void> {
  const application = host.spawn(process.execPath, [join(APPLICATIONS, file), JSON.stringify(options)]);
  await waitUntil(() => application.output().includes("listening") || application.child.exitCode !== null, { what: `${name} to listen` });
  if (application.child.exitCode !== null) throw new Error(`${name} did not start: ${application.output()}`);
}

/** Whether the host's agent says that the host can take traffic. */
export async function isReady(host: LabHost): Promise<boolean> {
  const { code } = await host.run("curl", ["--silent", "--fail", "--max-time", "2", `http://127.0.0.1:${READINESS_PORT}/healthz/ready`]);
  return code === 0;
}
