import { createSocket } from "node:dgram";

/** Tells whether this host has a way to an IPv6 address; the kernel is asked again once an answer is some seconds old. */
export interface Ipv6Route {
  reaches(address: string, nowMs: number): Promise<boolean>;
}

const FRESH_MS = 5_000;

export function watchIpv6Route(isRouted: (address: string) => Promise<boolean> = hasRoute): Ipv6Route {
  let last: { readonly address: string; readonly atMs: number; readonly routed: Promise<boolean> } | undefined;
  return {
    reaches(address, nowMs) {
      if (last?.address !== address || Math.abs(nowMs - last.atMs) >= FRESH_MS) last = { address, atMs: nowMs, routed: isRouted(address) };
      return last.routed;
    },
  };
}

/** Connecting by UDP sends nothing: it fails where no route is. */
function hasRoute(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (routed: boolean): void => {
      socket.close();
      resolve(routed);
    };
    // Made where the kernel has no IPv6 at all, too: connecting says so.
    const socket = createSocket("udp6");
    socket.once("error", () => end(false));
    socket.once("connect", () => end(true));
    socket.connect(9, address);
  });
}
