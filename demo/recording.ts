import { existsSync, readFileSync } from "node:fs";
import type { LabHost } from "../test/support/network-lab.ts";
import { waitUntil } from "../test/support/wait-until.ts";

/** What passes an interface, as tcpdump writes it down. */
export interface Recording {
  contains(pattern: string | Buffer): boolean;
  count(pattern: string | Buffer): number;
  /** What tcpdump prints of it; the arguments are its own. */
  show(args: readonly string[]): Promise<string>;
  stop(): Promise<void>;
}

const PCAP_HEADER_BYTES = 24;

/** Records TCP; resolves when nothing can be missed any more. */
export async function startRecording(host: LabHost, device: string, path: string): Promise<Recording> {
  const tcpdump = host.spawn("tcpdump", ["-i", device, "-U", "-Z", "root", "-s", "0", "-w", path, "tcp"]);
  await waitUntil(() => existsSync(path) && readFileSync(path).length >= PCAP_HEADER_BYTES && tcpdump.output().includes("listening"), {
    what: `tcpdump on ${host.name}`,
  });
  const bytes = (): Buffer => readFileSync(path);
  return {
    contains: (pattern) => bytes().includes(pattern),
    count(pattern) {
      const all = bytes();
      let found = 0;
      for (let at = all.indexOf(pattern); at !== -1; at = all.indexOf(pattern, at + 1)) found++;
      return found;
    },
    async show(args) {
      return (await host.run("tcpdump", ["-r", path, "-nn", ...args])).stdout;
    },
    stop: () => tcpdump.close(),
  };
}
