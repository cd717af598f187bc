import { isInside } from "./control-group.ts";
import type { GroupProcess } from "./control-group.ts";
import type { ListeningSocket } from "./listening-sockets.ts";

/** Whether a socket is a workload's. */
export type Owner =
  | { readonly kind: "own" }
  /** `isYoung`: it may still become the workload's, as one that a daemon opens as root before it becomes its user. */
  | { readonly kind: "stranger"; readonly who: string; readonly isYoung?: true }
  /** Nothing is to be changed because of it. */
  | { readonly kind: "unknown"; readonly why: string };

/** Which sockets a binding means. */
export type BoundOwner = { readonly uid: number } | { readonly cgroup: string };

/** What is known of a socket besides its row. */
export interface SocketFacts {
  /** The control group that it was made in; undefined where that is gone. */
  readonly cgroup: string | undefined;
  /** Who is in that control group now. */
  readonly processes: readonly GroupProcess[];
  /** Of a socket that systemd made: the control groups of what its .socket unit starts. */
  readonly activated: readonly string[];
  /** Who has it open, for people. */
  readonly holder?: number;
}

const OWN: Owner = { kind: "own" };

/**
 * Whether systemd itself made a socket of this control group: in that of the
 * .socket unit, or its own, and as root. Users with a control group of their
 * own may name others in it as they like.
 */
export function isMadeBySystemd({ uid }: Pick<ListeningSocket, "uid">, cgroup: string | undefined): boolean {
  return uid === 0 && cgroup !== undefined && (cgroup === "init.scope" || cgroup.endsWith(".socket"));
}

/** Needs no facts where the row says it all: the user's own, or another user's but root's. */
export function judgeRow(socket: ListeningSocket, bound: BoundOwner): "own" | "stranger" | "open" {
  if (!("uid" in bound)) return "open";
  if (socket.uid === bound.uid) return "own";
  return socket.uid === 0 ? "open" : "stranger";
}

/**
 * The control group is the one that the socket was made in, as the kernel
 * keeps it: the same that decides whose outbound connections are. Nobody can
 * change it afterwards, however the socket is handed on.
 *
 * A user's socket is one that it made, or that root made where processes of
 * the user are (daemons bind low ports before they become their user), or that
 * systemd made: root could become the user at any time.
 */
export function judgeOwner(socket: ListeningSocket, bound: BoundOwner, facts: SocketFacts): Owner {
  const row = judgeRow(socket, bound);
  if (row === "own") return OWN;
  const who = describeListener(socket, facts);
  if (row === "stranger") return { kind: "stranger", who };
  const { cgroup, processes, activated } = facts;
  if ("cgroup" in bound) {
    if (cgroup === undefined) return { kind: "stranger", who };
    const isOwn = isInside(cgroup, bound.cgroup) || (isMadeBySystemd(socket, cgroup) && activated.some((group) => isInside(group, bound.cgroup)));
    return isOwn ? OWN : { kind: "stranger", who };
  }
  if (isMadeBySystemd(socket, cgroup) || processes.some(({ uid }) => uid === bound.uid)) return OWN;
  if (processes.length > 0 && processes.every(({ uid }) => uid === undefined)) return { kind: "unknown", why: `the kernel does not show the processes of ${groupName(cgroup)}` };
  return { kind: "stranger", who, isYoung: true };
}

export function describeListener(socket: ListeningSocket, { cgroup, holder }: Pick<SocketFacts, "cgroup" | "holder">): string {
  const process = holder === undefined ? "" : `, process ${holder}`;
  return `uid ${socket.uid} (${groupName(cgroup)}${process})`;
}

function groupName(cgroup: string | undefined): string {
  return cgroup === undefined ? "a control group that is gone" : `control group /${cgroup}`;
}
