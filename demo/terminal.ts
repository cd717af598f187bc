import { fileURLToPath } from "node:url";
import type { LabHost, LabResult } from "../test/support/network-lab.ts";
import { ironmeshCommand } from "./daemon.ts";
import type { Caller, VmName } from "./mesh.ts";
import type { Narrator } from "./narrator.ts";

/** Types commands on the hosts of the demo: shown as a person would type them, and really run. */
export interface Terminal {
  /** `ironmesh …` beside the control plane; throws where it fails. */
  ironmesh(args: readonly string[], options?: IronmeshOptions): Promise<string>;
  /** `curl …` by a workload's user. */
  curl(caller: Caller, args: readonly string[]): Promise<string>;
  /** The same, unseen: for waits and counts. */
  readonly quietCurl: (caller: Caller, args: readonly string[]) => Promise<LabResult>;
  /** A program on any host, by the name that a person would type; throws where it fails. */
  program(host: LabHost, program: Program, args: readonly string[]): Promise<string>;
  /** Any command as root; a failing one is a result. */
  root(vm: VmName, command: string, args: readonly string[]): Promise<LabResult>;
}

export interface IronmeshOptions {
  /** Given to its standard input, and shown as a here-document. */
  readonly input?: string;
  readonly isQuiet?: boolean;
}

/** A program that need not be on PATH. */
export interface Program {
  readonly name: string;
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;
}

interface TerminalOptions {
  readonly hosts: Readonly<Record<VmName | "control", LabHost>>;
  readonly apiSocket: string;
  readonly narrator: Narrator;
}

const CURL_DEFAULTS = ["--silent", "--show-error", "--max-time", "20"];

export function createTerminal({ hosts, apiSocket, narrator }: TerminalOptions): Terminal {
  const quietCurl = ({ vm, uid }: Caller, args: readonly string[]): Promise<LabResult> => hosts[vm].run("curl", [...CURL_DEFAULTS, ...args], { uid });
  return {
    quietCurl,
    root: (vm, command, args) => hosts[vm].run(command, args),
    async ironmesh(args, { input, isQuiet = false } = {}) {
      const typed = `ironmesh ${args.map(quote).join(" ")}`;
      if (!isQuiet) narrator.command("control", input === undefined ? typed : `${typed} <<'END'\n${input.trimEnd()}\nEND`);
      const [command = "", ...words] = ironmeshCommand(...args);
      const result = await hosts.control.run(command, words, {
        env: { IRONMESH_API: apiSocket },
        ...(input === undefined ? {} : { input }),
      });
      if (!isQuiet) narrator.output(result.stdout + result.stderr);
      if (result.code !== 0) throw new Error(`${typed} ended with ${result.code}: ${result.stderr.trim()}`);
      return result.stdout;
    },
    async curl(caller, args) {
      narrator.command(caller.vm, `curl -s ${args.map(quote).join(" ")}`);
      const result = await quietCurl(caller, args);
      narrator.output(result.stdout + result.stderr);
      return result.stdout;
    },
    async program(host, { name, path, env }, args) {
      const typed = `${name} ${args.map(quote).join(" ")}`;
      narrator.command(host.name, typed);
      const result = await host.run(path, args, { env });
      narrator.output(result.stdout + result.stderr);
      if (result.code !== 0) throw new Error(`${typed} ended with ${result.code}: ${result.stderr.trim()}`);
      return result.stdout;
    },
  };
}

/** For reading and pasting only: nothing is run through a shell. */
function quote(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", String.raw`'\''`).replaceAll("\n", String.raw`\n`)}'`;
}

export const APPLICATIONS = fileURLToPath(new URL("applications/", import.meta.url));
