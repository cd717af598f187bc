import { isIP } from "node:net";
import { hostname } from "node:os";
import { z } from "zod";

import { type ConfigConflict, type ConfigFile, parseConfigFile } from "../base/config-file.ts";
import type { Issue } from "../base/issue.ts";
import type { Result } from "../base/result.ts";

/**
 * Every name, port and default of the agent. Ports: 15006 takes captured
 * inbound connections, 15020 serves status and merged metrics on loopback,
 * 15021 readiness, 15053 DNS, 15100-15199 the workloads' outbound listeners
 * (two banks of 50), 15012 is the control plane's.
 */
export const AGENT_DEFAULTS = {
  configPath: "/etc/ironmesh/agent.yaml",
  tokenVariable: "IRONMESH_TOKEN",
  stateDir: "/var/lib/ironmesh",
  runDir: "/run/ironmesh",
  controlPlanePort: 15_012,
  envoyUser: "ironmesh-proxy",
  envoyMaxConnections: 50_000,
  drainSeconds: 30,
  inboundPort: 15_006,
  statusPort: 15_020,
  readinessPort: 15_021,
  dnsPort: 15_053,
  outboundRange: [15_100, 15_199],
  /** Nothing else that a control plane names is opened. */
  trustedRoots: ["/etc/ironmesh/ca-certificates"],
  heartbeatSeconds: 5,
  execProbeUser: "nobody",
} as const;

const port = z.number().int().min(1).max(65_535);
/** Where 0 means "any free one": only for listeners whose address nobody needs to know beforehand. */
const listenPort = z.number().int().min(0).max(65_535);
const absolutePath = z.string().regex(/^\/[^\0]*$/, "must be an absolute path");
const dnsLabel = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const name = z.string().regex(dnsLabel, "must be 1 to 63 characters of a-z, 0-9 and hyphen");
const groupName = z
  .string()
  .refine((text) => text.split("/").length === 2 && text.split("/").every((part) => dnsLabel.test(part)), "must read NAMESPACE/NAME");
const ipAddress = z.string().refine((text) => isIP(text) !== 0, "must be an IP address");
const cidr = z.string().refine(isCidr, "must be an IP address or a range such as 10.0.0.0/8");
const hostPort = z.string().refine((text) => parseHostPort(text, AGENT_DEFAULTS.controlPlanePort) !== undefined, "must read HOST, HOST:PORT or [IPv6]:PORT");
const userName = z.union([z.string().regex(/^[a-z_][a-z0-9_-]{0,31}$/, "must be the name of a user"), z.number().int().min(0)]);

const bind = z
  .strictObject({
    uid: userName.optional().describe("The user (name or number) whose processes are the workload. Sockets of root count where its processes are: a daemon may open its port before it becomes its user."),
    systemdUnit: z
      .string()
      .regex(/^[A-Za-z0-9:_.\\@-]+\.(service|slice|scope)$/, "must be the full name of a unit, such as reviews.service")
      .optional()
      .describe("The systemd unit (or slice) whose processes are the workload. What a .socket unit opens for it counts."),
    cgroup: z
      .string()
      .regex(/^(?!.*(^|\/)\.\.?(\/|$))[^/\0"]+(\/[^/\0"]+)*$/, "must be a path below the cgroup v2 root, without a leading slash")
      .optional()
      .describe("The cgroup (v2, relative to the root) whose processes are the workload."),
    ports: z.array(port).min(1).optional().describe("For a workload that only serves: the ports that it listens on. Its outbound traffic is not captured, and whoever listens on them is given its inbound traffic."),
  })
  .refine((value) => Object.keys(value).length === 1, "needs exactly one of uid, systemdUnit, cgroup, ports");

const workload = z.strictObject({
  name: name.optional().describe("Unique on this host. Default: the name of the group."),
  group: groupName.describe("NAMESPACE/NAME of the WorkloadGroup that this workload is an instance of. The host must have been granted it."),
  bind: bind.describe("Which processes of the host are this workload. While others listen on its ports, connections to them are refused; with `ports` alone there is nothing to tell others by."),
  addresses: z.array(ipAddress).min(1).optional().describe("Where other hosts reach it. Default: the host's addresses."),
  ports: z.record(name, port).optional().describe("Port name to number, where this host differs from the group's template."),
});

const schema = z.strictObject({
  hostName: z.string().min(1).max(253).default(() => hostname()).describe("What people call this host. Default: its host name. It is no identity."),
  controlPlane: z
    .strictObject({
      address: z
        .union([hostPort, z.array(hostPort).min(1)])
        .transform((value) => (typeof value === "string" ? [value] : value))
        .describe("HOST:PORT of the control plane (port 15012 unless told), or a list of them: the first that answers is used."),
    })
    .describe("Where the control plane is."),
  joinTokenFile: absolutePath
    .optional()
    .describe("File with the one-use join token. It is read only while the host has no identity. The variable IRONMESH_TOKEN does as well; the command line never."),
  stateDir: absolutePath.default(AGENT_DEFAULTS.stateDir).describe("Keys, certificates and the last good configuration; survives a reboot. Unreadable to everybody but the agent."),
  runDir: absolutePath.default(AGENT_DEFAULTS.runDir).describe("Sockets and process files; empty after a reboot."),
  locality: z.string().regex(/^[^/]*(\/[^/]*){0,2}$/, "must read REGION/ZONE/SUBZONE").default("").describe("Where the host is: REGION/ZONE/SUBZONE, each may be left out."),
  addresses: z
    .array(cidr)
    .min(1)
    .optional()
    .describe("Addresses (or ranges that pick them) at which other hosts reach this one. Default: of each family the one that the default route would use; the log says which and why."),
  workloads: z.array(workload).default([]).describe("What runs here and is part of the mesh."),
  envoy: z
    .strictObject({
      path: absolutePath.optional().describe("The Envoy binary. Default: the first `envoy` on PATH."),
      user: userName.default(AGENT_DEFAULTS.envoyUser).describe("The user that Envoy runs as. Its traffic is exempt from capture, and it cannot read the agent's state."),
      concurrency: z.number().int().min(1).max(256).optional().describe("Worker threads. Default: one per CPU, two at least."),
      maxConnections: z.number().int().min(1).default(AGENT_DEFAULTS.envoyMaxConnections).describe("Above this many connections from clients, new ones are refused."),
      drainSeconds: z.number().min(0).max(3_600).default(AGENT_DEFAULTS.drainSeconds).describe("How long a stopping Envoy may finish what it is doing."),
      trustedRoots: z.array(absolutePath).default([...AGENT_DEFAULTS.trustedRoots]).describe("Files of roots, and folders of such files, that `caCertificates` of a DestinationRule may name. Envoy's user must be able to read them. The system's public roots always are."),
      logLevel: z.enum(["trace", "debug", "info", "warning", "error", "critical", "off"]).default("warning").describe("How much Envoy itself logs."),
    })
    .prefault({})
    .describe("The proxy."),
  capture: z
    .strictObject({
      mode: z.enum(["off", "on"]).default("on").describe("Whether traffic of the workloads is taken through Envoy by rules in the kernel."),
      backend: z.enum(["auto", "nft", "iptables"]).default("auto").describe("Which tool sets the rules. `auto` takes nft where it works."),
      outbound: z
        .strictObject({
          scope: z.enum(["all", "vips"]).default("all").describe("`all`: every TCP connection of the bound processes but loopback and the exclusions. `vips`: only those to virtual addresses of the mesh. What belongs to no workload is never captured."),
          excludePorts: z.array(port).default([]).describe("Destination ports that are never captured (NFS, LDAP, backups)."),
          excludeCidrs: z.array(cidr).default([]).describe("Destinations that are never captured."),
        })
        .prefault({})
        .describe("Connections that workloads open."),
      inbound: z
        .strictObject({
          excludePorts: z.array(port).default([]).describe("Declared ports that are not captured all the same. Port 22 never is."),
        })
        .prefault({})
        .describe("Connections to the workloads' declared ports."),
    })
    .prefault({})
    .describe("Interception of traffic."),
  dns: z
    .strictObject({
      mode: z.enum(["off", "listen", "capture"]).default("listen").describe("`listen`: answer on loopback, for resolvers that are pointed here. `capture`: also take the workloads' queries to port 53 by rule."),
      port: listenPort.default(AGENT_DEFAULTS.dnsPort).describe("UDP and TCP, on 127.0.0.1 and ::1 only. The sockets of ironmesh-dns.socket have the same."),
      upstreams: z.array(hostPort).min(1).optional().describe("Who answers every other name (port 53 unless told). Default: the host's own resolvers."),
    })
    .prefault({})
    .describe("Names of the mesh."),
  ports: z
    .strictObject({
      inbound: port.default(AGENT_DEFAULTS.inboundPort).describe("Where Envoy takes captured inbound connections."),
      outboundRange: z
        .tuple([port, port])
        .default([...AGENT_DEFAULTS.outboundRange])
        .describe("First and last of the loopback ports of the workloads' outbound listeners; half of them serve, the other half is for replacing Envoy."),
      status: listenPort.default(AGENT_DEFAULTS.statusPort).describe("Status and merged metrics, on loopback."),
      readiness: listenPort.default(AGENT_DEFAULTS.readinessPort).describe("`/healthz/ready`, on every address."),
    })
    .prefault({})
    .describe("Ports of the agent and of Envoy."),
  probes: z
    .strictObject({
      allowExec: z.boolean().default(false).describe("Whether a WorkloadGroup's `exec` probe may run commands here. Whoever writes WorkloadGroups can then run commands on this host."),
      execUser: userName.default(AGENT_DEFAULTS.execProbeUser).describe("The user that `exec` probes run as."),
    })
    .prefault({})
    .describe("Health checks of the workloads."),
  log: z
    .strictObject({
      level: z.enum(["debug", "info", "warn", "error"]).default("info").describe("How much the agent logs."),
    })
    .prefault({})
    .describe("The agent's own log."),
});

/** The agent's configuration with every default filled in; nothing further in has defaults. */
export type AgentConfig = z.output<typeof schema>;
export type WorkloadConfig = z.output<typeof workload>;
export type WorkloadBinding = z.output<typeof bind>;

/** A workload's name on this host: its own, else its group's. */
export function workloadName(config: WorkloadConfig): string {
  return config.name ?? config.group.slice(config.group.indexOf("/") + 1);
}

/**
 * Reads the host's YAML. All issues are collected; any error rejects the file.
 *
 * @param file only names the file in issues
 */
export function parseAgentConfig(text: string, file: string): Result<AgentConfig, readonly Issue[]> {
  return parseConfigFile(AGENT_CONFIG_FILE, text, file);
}

/** The host's YAML. */
export const AGENT_CONFIG_FILE: ConfigFile<AgentConfig> = { schema, reference: "docs/reference/agent-config.md", conflicts: findConflicts };

/** JSON Schema (2020-12) of the file, for editors. */
export function agentConfigJsonSchema(): Record<string, unknown> {
  return { ...z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }), title: "Ironmesh agent configuration" };
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** `host`, `host:port`, `[v6]:port` or a bare IPv6 address. */
export function parseHostPort(text: string, defaultPort: number): HostPort | undefined {
  if (isIP(text) === 6) return { host: text, port: defaultPort };
  const match = /^(?:\[([^\]]+)\]|([^[\]:\s]+))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const [, v6, plain, digits] = match;
  const host = v6 ?? plain ?? "";
  const parsedPort = digits === undefined ? defaultPort : Number(digits);
  if (v6 !== undefined && isIP(v6) !== 6) return undefined;
  if (v6 === undefined && isIP(host) === 0 && !/^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?$/.test(host)) return undefined;
  return parsedPort >= 1 && parsedPort <= 65_535 ? { host, port: parsedPort } : undefined;
}

function isCidr(text: string): boolean {
  const [address = "", bits, surplus] = text.split("/");
  const family = isIP(address);
  if (family === 0 || surplus !== undefined) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
}

function findConflicts(config: AgentConfig): ConfigConflict[] {
  const conflicts: ConfigConflict[] = [];
  const [first, last] = config.ports.outboundRange;
  const needed = 2 * config.workloads.length;
  if (last - first + 1 < Math.max(2, needed)) {
    conflicts.push([["ports", "outboundRange"], `the range holds ${Math.max(0, last - first + 1)} ports, ${config.workloads.length} workloads need ${needed}`, "name a first port below the last, two ports for each workload"]);
  }
  const names = new Map<string, number>();
  const boundPorts = new Map<number, number>();
  for (const [index, entry] of config.workloads.entries()) {
    const earlier = names.get(workloadName(entry));
    if (earlier !== undefined) conflicts.push([["workloads", index], `workloads[${earlier}] has the name ${workloadName(entry)} too`, "give each workload of a host its own name"]);
    names.set(workloadName(entry), index);
    for (const bound of entry.bind.ports ?? []) {
      const owner = boundPorts.get(bound);
      if (owner !== undefined) conflicts.push([["workloads", index, "bind", "ports"], `port ${bound} is bound to workloads[${owner}] already`, "bind each port to one workload"]);
      boundPorts.set(bound, index);
    }
  }
  const { inbound, status, readiness } = config.ports;
  const used = new Map<number, string>();
  const taken: readonly (readonly [readonly string[], number])[] = [
    [["ports", "inbound"], inbound],
    [["ports", "status"], status],
    [["ports", "readiness"], readiness],
    [["dns", "port"], config.dns.port],
  ];
  for (const [path, value] of taken) {
    if (value === 0) continue;
    const other = used.get(value);
    if (other !== undefined) conflicts.push([path, `port ${value} is ${other} already`, "give each of them its own port"]);
    else if (value >= first && value <= last) conflicts.push([path, `port ${value} lies in ports.outboundRange`, "move one of the two"]);
    used.set(value, path.join("."));
  }
  if (config.envoy.user === 0 || config.envoy.user === "root") {
    conflicts.push([["envoy", "user"], "Envoy must not run as root: it could read the agent's keys", "name a user of its own, such as ironmesh-proxy"]);
  }
  return conflicts;
}
