import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { CaptureTarget } from "../../agent/interception/apply.ts";
import type { CaptureSpec } from "../../agent/interception/capture-spec.ts";
import { createCommandRunner } from "../../agent/interception/command-runner.ts";
import type { CommandRunner } from "../../agent/interception/command-runner.ts";
import type { Backend } from "../../agent/interception/host-facts.ts";
import { planCapture } from "../../agent/interception/plan.ts";
import type { CapturePlan } from "../../agent/interception/plan.ts";
import { createIptablesPath } from "./iptables-path.ts";
import { createLab } from "./network-lab.ts";
import type { LabHost, LabProcess, NetworkLab } from "./network-lab.ts";

/** The users of the scenario. */
export const UID = { proxy: 900, one: 1001, two: 1002, stranger: 1003, resolver: 901, root: 0 } as const;

/** The ports of the scenario: `strict` is fail-closed and served by `app-one`, `open` is not and is served by `app-two`. */
export const PORT = { outOne: 15_101, outTwo: 15_102, inbound: 15_006, dns: 15_053, strict: 8080, open: 8090, plain: 7000, excluded: 9999, management: 15_020 } as const;

/**
 * Host `a` runs two workloads and a stand-in for their proxy, host `b` is a
 * stranger to the mesh. Each listener says its name first, so that a test sees
 * where a connection landed and which way it took: `out-two`, `inbound`, `app-one`.
 */
export interface CaptureScenario {
  readonly lab: NetworkLab;
  readonly a: LabHost;
  readonly b: LabHost;
  /** Runs a command on `a` as its agent would. */
  readonly commandPrefix: readonly string[];
  readonly target: CaptureTarget;
  /** The names of all that a connection met, or its error code. */
  readonly land: (from: LabHost, connection: LabConnection) => Promise<string>;
  /** A connection that stays. */
  readonly hold: (from: LabHost, connection: LabConnection) => Promise<HeldConnection>;
  /** Connections one after the other until stopped. */
  readonly load: (from: LabHost, connection: LabConnection) => RunningLoad;
  close(): Promise<void>;
}

export interface LabConnection {
  readonly uid: number;
  readonly host: string;
  readonly port: number;
  readonly localAddress?: string;
  readonly localPort?: number;
  /** How many names to wait for; 1 unless told. */
  readonly lines?: number;
  readonly timeoutMs?: number;
  readonly isDatagram?: true;
}

export interface HeldConnection {
  /** The name of what it landed on. */
  readonly landedOn: string;
  /** Sends a line and waits for its echo; throws when the connection is gone. */
  echo(text: string): Promise<void>;
  close(): Promise<void>;
}

export interface RunningLoad {
  stop(): Promise<{ readonly landed: Readonly<Record<string, number>>; readonly failed: Readonly<Record<string, number>> }>;
}

export const CLIENT = fileURLToPath(new URL("lab-client.mjs", import.meta.url));

export const SPEC: CaptureSpec = {
  proxyUid: UID.proxy,
  inboundListenerPort: PORT.inbound,
  outbound: [
    { workload: "one", match: { uids: [UID.one] }, outboundPort: PORT.outOne },
    { workload: "two", match: { uids: [UID.two] }, outboundPort: PORT.outTwo },
  ],
  inbound: [
    { workload: "one", port: PORT.strict, failClosed: true },
    { workload: "two", port: PORT.open, failClosed: false },
  ],
  outboundScope: "all",
  exclusions: { ports: [PORT.excluded], cidrs: ["192.0.2.0/24"] },
  vips: { v4: ["240.240.0.0/16"], v6: ["2001:2::/48"] },
  managementPorts: [PORT.management],
};

export function soundPlan(spec: CaptureSpec): CapturePlan {
  const plan = planCapture(spec);
  assert.ok(plan.ok, JSON.stringify(plan));
  return plan.value;
}

/**
 * What sets a host's rules: nft, or iptables in either variant on a host
 * without nft. All of them are held to the same cases.
 */
export const CAPTURE_VARIANTS = ["nft", "iptables (nf_tables)", "iptables (legacy)"] as const;
export type CaptureVariant = (typeof CAPTURE_VARIANTS)[number];

export function backendOf(variant: CaptureVariant): Backend {
  return variant === "nft" ? "nft" : "iptables";
}

/** Undefined where this kernel has no tables for iptables-legacy. */
export async function startCaptureScenario(variant: CaptureVariant): Promise<CaptureScenario | undefined> {
  const lab = await createLab({ hosts: ["a", "b"] });
  const folder = await mkdtemp(join(tmpdir(), "ironmesh-capture-"));
  const path = variant === "nft" ? undefined : await createIptablesPath(join(folder, "bin"), variant === "iptables (legacy)" ? "legacy" : "nft");
  const commandPrefix = [...(lab.hosts["a"]?.commandPrefix ?? []), ...(path === undefined ? [] : ["env", `PATH=${path}`])];
  const runner = createCommandRunner(commandPrefix);
  const { a, b } = lab.hosts as { readonly a: LabHost; readonly b: LabHost };
  try {
    if (variant === "iptables (legacy)" && !(await useLegacyTables(runner))) {
      await lab.close();
      await rm(folder, { recursive: true });
      return undefined;
    }
    await startApplications(a, b);
  } catch (failure) {
    await lab.close();
    throw failure;
  }
  return {
    lab,
    a,
    b,
    commandPrefix,
    target: { runner, backend: backendOf(variant), reverter: "process", recordPath: join(folder, "capture.json") },
    land,
    hold,
    load,
    async close() {
      await lab.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function startApplications(a: LabHost, b: LabHost): Promise<void> {
  const relay = (port: number, to: number): Parameters<LabHost["startApplication"]>[0]["listeners"] => [
    { port, kind: "relay", address: "127.0.0.1", relayTo: { host: a.addresses.v4, port: to } },
    { port, kind: "relay", address: "::1", relayTo: { host: a.addresses.v6, port: to } },
  ];
  await Promise.all([
    a.startApplication({ name: "app-one", uid: UID.one, listeners: [{ port: PORT.strict, kind: "tcp" }] }),
    a.startApplication({ name: "app-two", uid: UID.two, listeners: [{ port: PORT.open, kind: "tcp" }] }),
    a.startApplication({ name: "a-other", uid: UID.stranger, listeners: [PORT.plain, PORT.management].map((port) => ({ port, kind: "tcp" })) }),
    // Each workload calls its neighbour, as if it had asked for its virtual address.
    a.startApplication({ name: "out-one", uid: UID.proxy, listeners: relay(PORT.outOne, PORT.open) }),
    a.startApplication({ name: "out-two", uid: UID.proxy, listeners: relay(PORT.outTwo, PORT.strict) }),
    a.startApplication({
      name: "inbound",
      uid: UID.proxy,
      listeners: [{ port: PORT.inbound, kind: "relay", relayTo: { host: a.addresses.v4, port: PORT.strict, localAddress: "127.0.0.6" } }],
    }),
    a.startApplication({
      name: "resolver",
      uid: UID.resolver,
      listeners: ["127.0.0.1", "::1"].flatMap((address) => [{ port: PORT.dns, kind: "udp", address } as const, { port: PORT.dns, kind: "tcp", address } as const]),
    }),
    startServices(a, "a-ssh", []),
    startServices(b, "b-app", [PORT.plain, PORT.excluded, 80, 53, PORT.strict, PORT.open]),
  ]);
}

/** Ports below 1024 belong to root's servers. */
async function startServices(host: LabHost, name: string, ports: readonly number[]): Promise<LabProcess> {
  const datagrams = ports.includes(53) ? [host.addresses.v4, host.addresses.v6].map((address) => ({ port: 53, kind: "udp", address }) as const) : [];
  return host.startApplication({ name, uid: UID.root, listeners: [...[22, ...ports].map((port) => ({ port, kind: "tcp" }) as const), ...datagrams] });
}

function clientArgs(mode: string, connection: LabConnection): string[] {
  return [CLIENT, JSON.stringify({ mode, ...connection })];
}

async function land(from: LabHost, connection: LabConnection): Promise<string> {
  const { stdout, stderr } = await from.run(process.execPath, clientArgs(connection.isDatagram ? "datagram" : "once", connection));
  assert.notEqual(stdout, "", stderr);
  const answer = JSON.parse(stdout) as { readonly lines: readonly string[] } | { readonly error: string };
  return "error" in answer ? answer.error : answer.lines.slice(0, connection.lines ?? 1).map((line) => line.split(" ")[0]).join(" > ");
}

async function hold(from: LabHost, connection: LabConnection): Promise<HeldConnection> {
  const client = from.spawn(process.execPath, clientArgs("hold", connection));
  const until = async (text: string): Promise<void> => {
    while (!client.output().includes(text)) {
      if (client.output().includes("closed") || client.child.exitCode !== null) throw new Error(`the connection is gone: ${client.output()}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  await until("\n");
  return {
    landedOn: client.output().split(" ")[0] ?? "",
    async echo(text) {
      client.child.stdin?.write(`${text}\n`);
      await until(text);
    },
    close: () => client.close(),
  };
}

function load(from: LabHost, connection: LabConnection): RunningLoad {
  const client = from.spawn(process.execPath, clientArgs("load", connection));
  return {
    async stop() {
      client.child.stdin?.end();
      while (client.child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 10));
      const { landed, failed } = JSON.parse(client.output()) as { landed: Record<string, number>; failed: Record<string, number> };
      const byName = new Map<string, number>();
      for (const [line, count] of Object.entries(landed)) {
        const name = line.split(" ")[0] ?? "";
        byName.set(name, (byName.get(name) ?? 0) + count);
      }
      return { landed: Object.fromEntries(byName), failed };
    },
  };
}

/** The kernel keeps a table of iptables-legacy from its first use on: it is there before the tests, so that they find it afterwards. */
async function useLegacyTables(runner: CommandRunner): Promise<boolean> {
  for (const command of ["iptables", "ip6tables"]) {
    for (const table of ["filter", "raw", "nat"]) {
      if ((await runner.run(command, ["-t", table, "-S"])).code !== 0) return false;
    }
  }
  return true;
}
