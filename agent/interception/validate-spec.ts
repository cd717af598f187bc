import { isIP } from "node:net";
import type { Issue } from "../../base/issue.ts";
import type { CaptureSpec, InboundPort, OutboundCapture } from "./capture-spec.ts";
import { SSH_PORT } from "./capture-spec.ts";

/** 4 or 6, or undefined where `cidr` is no address range in canonical form `address/length`. */
export function cidrFamily(cidr: string): 4 | 6 | undefined {
  const [address = "", length = "", ...rest] = cidr.split("/");
  const family = isIP(address);
  if (rest.length > 0 || (family !== 4 && family !== 6) || !/^\d{1,3}$/.test(length)) return undefined;
  return Number(length) <= (family === 4 ? 32 : 128) ? family : undefined;
}

/** Everything that keeps a spec from becoming a plan; empty when it is sound. */
export function validateCaptureSpec(spec: CaptureSpec): Issue[] {
  return [
    ...proxyIssues(spec),
    ...spec.outbound.flatMap((capture, index) => outboundIssues(spec, capture, `outbound[${index}]`)),
    ...spec.inbound.flatMap((port, index) => inboundIssues(spec, port, `inbound[${index}]`)),
    ...overlapIssues(spec),
    ...rangeIssues(spec),
  ];
}

function issue(code: string, path: string, message: string, remedy?: string): Issue {
  return { code, severity: "error", path, message, ...(remedy === undefined ? {} : { remedy }) };
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}

function isUid(uid: number): boolean {
  // The last value is (uid_t)-1, which means "no user" to the kernel.
  return Number.isInteger(uid) && uid >= 0 && uid < 0xffff_ffff;
}

function portIssue(path: string, port: number): Issue[] {
  return isPort(port) ? [] : [issue("IM0701", path, `${port} is not a port number`, "use 1 to 65535")];
}

function proxyIssues(spec: CaptureSpec): Issue[] {
  const issues = portIssue("inboundListenerPort", spec.inboundListenerPort);
  if (!isUid(spec.proxyUid) || spec.proxyUid === 0) {
    issues.push(issue("IM0702", "proxyUid", `user ${spec.proxyUid} cannot be the proxy's`, "run Envoy as a user of its own, not as root"));
  }
  for (const [index, uid] of (spec.probeUids ?? []).entries()) {
    if (!isUid(uid)) issues.push(issue("IM0702", `probeUids[${index}]`, `${uid} is not a user id`));
  }
  if (spec.dns) issues.push(...portIssue("dns.port", spec.dns.port));
  issues.push(...spec.managementPorts.flatMap((port, index) => portIssue(`managementPorts[${index}]`, port)));
  issues.push(...spec.exclusions.ports.flatMap((port, index) => portIssue(`exclusions.ports[${index}]`, port)));
  return issues;
}

function outboundIssues(spec: CaptureSpec, capture: OutboundCapture, path: string): Issue[] {
  const issues = portIssue(`${path}.outboundPort`, capture.outboundPort);
  const { uids = [], cgroups = [] } = capture.match;
  if (uids.length === 0 && cgroups.length === 0) {
    issues.push(issue("IM0703", `${path}.match`, "matches no process", "name a user id or a cgroup"));
  }
  for (const [index, uid] of uids.entries()) {
    const where = `${path}.match.uids[${index}]`;
    if (!isUid(uid)) issues.push(issue("IM0702", where, `${uid} is not a user id`));
    else if (uid === 0) issues.push(issue("IM0704", where, "root's connections are the administrator's and the agent's too", "bind this workload by cgroup"));
    else if (spec.probeUids?.includes(uid) === true) issues.push(issue("IM0704", where, `${uid} is the agent's own user`, "run the workload as another user"));
    else if (uid === spec.proxyUid) issues.push(issue("IM0704", where, `${uid} is the proxy's own user`, "run the workload as another user"));
  }
  for (const [index, cgroup] of cgroups.entries()) {
    // Both renderers put the path between double quotes.
    if (!/^\/?[^/"\s\p{Cc}]+(\/[^/"\s\p{Cc}]+)*$/u.test(cgroup) || cgroup.split("/").some((part) => part === "." || part === "..")) {
      issues.push(issue("IM0705", `${path}.match.cgroups[${index}]`, `${JSON.stringify(cgroup)} is not the path of a cgroup`, "use the path in /proc/PID/cgroup; the root is not a workload"));
    }
  }
  for (const [index, cgroup] of cgroups.entries()) {
    const isAgents = `${spec.agentCgroup ?? ""}/`.startsWith(`${cgroup.replace(/^\//, "")}/`);
    if (isAgents) issues.push(issue("IM0704", `${path}.match.cgroups[${index}]`, `${cgroup} holds the agent, whose own connections are never captured`, "bind the workload's own unit or slice"));
  }
  return [...issues, ...commentIssues(path, capture.workload)];
}

function commentIssues(path: string, workload: string): Issue[] {
  const isSound = /^[\w./@:-]{1,80}$/.test(workload);
  return isSound ? [] : [issue("IM0706", `${path}.workload`, `${JSON.stringify(workload)} cannot name a workload`, "use letters, digits and . _ / @ : -")];
}

function inboundIssues(spec: CaptureSpec, inbound: InboundPort, path: string): Issue[] {
  const issues = portIssue(`${path}.port`, inbound.port);
  if (inbound.port === SSH_PORT) {
    issues.push(issue("IM0707", `${path}.port`, "port 22 is never captured", "remove it; use another port for anything that is not SSH"));
  } else if (spec.managementPorts.includes(inbound.port)) {
    issues.push(issue("IM0707", `${path}.port`, `${inbound.port} is a management port of this host`, "serve the workload on another port"));
  }
  for (const [index, address] of (inbound.addresses ?? []).entries()) {
    if (isIP(address) === 0) issues.push(issue("IM0708", `${path}.addresses[${index}]`, `${JSON.stringify(address)} is not an address`));
  }
  if (inbound.addresses?.length === 0) issues.push(issue("IM0708", `${path}.addresses`, "names no address", "leave it out for any local address"));
  return [...issues, ...commentIssues(path, inbound.workload)];
}

/** Ports and processes that two owners claim: each would silently take the other's traffic, or identity. */
function overlapIssues(spec: CaptureSpec): Issue[] {
  const issues: Issue[] = [];
  const claim = (owners: Map<number | string, string>, key: number | string, owner: string, path: string, what: string): void => {
    const first = owners.get(key);
    if (first === undefined) owners.set(key, owner);
    else issues.push(issue("IM0709", path, `${what} is ${first} already`, "give each its own"));
  };
  const listeners = new Map<number | string, string>([[spec.inboundListenerPort, "the inbound listener"]]);
  if (spec.dns) claim(listeners, spec.dns.port, "the resolver", "dns.port", `port ${spec.dns.port}`);
  const processes = new Map<number | string, string>();
  for (const [index, { workload, match, outboundPort }] of spec.outbound.entries()) {
    const path = `outbound[${index}]`;
    claim(listeners, outboundPort, `the outbound listener of ${workload}`, `${path}.outboundPort`, `port ${outboundPort}`);
    for (const uid of match.uids ?? []) claim(processes, uid, `matched by ${workload}`, `${path}.match.uids`, `user ${uid}`);
    for (const cgroup of match.cgroups ?? []) claim(processes, cgroup.replace(/^\//, ""), `matched by ${workload}`, `${path}.match.cgroups`, `cgroup ${cgroup}`);
  }
  for (const [index, port] of spec.managementPorts.entries()) claim(listeners, port, "a management port", `managementPorts[${index}]`, `port ${port}`);
  const served = new Map<number | string, string>();
  for (const [index, { workload, port, addresses }] of spec.inbound.entries()) {
    const listener = listeners.get(port);
    if (listener !== undefined && listener !== "a management port") issues.push(issue("IM0709", `inbound[${index}].port`, `port ${port} is ${listener} already`, "give each its own"));
    for (const address of addresses ?? ["*"]) claim(served, `${address}|${port}`, `served by ${workload}`, `inbound[${index}]`, `${address}:${port}`);
  }
  return issues;
}

function rangeIssues(spec: CaptureSpec): Issue[] {
  const lists = [
    ["exclusions.cidrs", spec.exclusions.cidrs, undefined],
    ["vips.v4", spec.vips.v4, 4],
    ["vips.v6", spec.vips.v6, 6],
  ] as const;
  return lists.flatMap(([path, cidrs, wanted]) =>
    cidrs.flatMap((cidr, index) => {
      const family = cidrFamily(cidr);
      const isSound = family !== undefined && (wanted === undefined || family === wanted);
      return isSound ? [] : [issue("IM0710", `${path}[${index}]`, `${JSON.stringify(cidr)} is not an IPv${wanted ?? "4 or IPv6"} range`, "write address/length")];
    }),
  );
}
