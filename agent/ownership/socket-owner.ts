import { cgroupOfUnit } from "../binding.ts";
import type { WorkloadBinding } from "../config.ts";
import { lookUpUser } from "../envoy-binary.ts";
import type { CommandRunner } from "../interception/command-runner.ts";
import { findControlGroup, holderOf, processesOf } from "./control-group.ts";
import { isMadeBySystemd, judgeOwner, judgeRow } from "./judge-owner.ts";
import type { BoundOwner, Owner, SocketFacts } from "./judge-owner.ts";
import type { ListeningSocket } from "./listening-sockets.ts";
import { readActivated, readOrigins } from "./socket-origin.ts";

/** Asks the host whose a socket is. @throws Error where the host does not tell */
export async function lookUpOwner(socket: ListeningSocket, bind: WorkloadBinding, runner: CommandRunner): Promise<Owner> {
  const bound = await boundOwner(bind);
  const row = judgeRow(socket, bound);
  if (row === "own") return { kind: "own" };
  const facts = await factsOf(socket, bound, runner).catch((failure: unknown) => {
    // Of another user's the facts would only say more.
    if (row === "stranger") return "untold" as const;
    throw failure;
  });
  if (facts === "untold") return { kind: "stranger", who: `uid ${socket.uid}` };
  return facts === undefined ? { kind: "unknown", why: `port ${socket.port} changed hands in this moment` } : judgeOwner(socket, bound, facts);
}

async function boundOwner(bind: WorkloadBinding): Promise<BoundOwner> {
  if (bind.uid !== undefined) return { uid: (await lookUpUser(bind.uid)).uid };
  return { cgroup: bind.cgroup ?? (await cgroupOfUnit(bind.systemdUnit ?? "")) };
}

/** @returns undefined where there is no such socket any more */
async function factsOf(socket: ListeningSocket, bound: BoundOwner, runner: CommandRunner): Promise<SocketFacts | undefined> {
  const origin = (await readOrigins(runner)).get(socket.inode);
  if (origin === undefined) return undefined;
  const cgroup = "path" in origin ? origin.path : await findControlGroup(origin.id, "cgroup" in bound ? bound.cgroup : "");
  const processes = cgroup === undefined ? [] : await processesOf(cgroup);
  const units = isMadeBySystemd(socket, cgroup) && "cgroup" in bound ? await readActivated(runner, cgroup === "init.scope" ? "*.socket" : (cgroup?.split("/").at(-1) ?? ""), socket.port) : [];
  const holder = await holderOf(socket.inode, processes.filter(({ uid }) => uid === socket.uid));
  return { cgroup, processes, activated: await Promise.all(units.map(cgroupOfUnit)), ...(holder === undefined ? {} : { holder }) };
}
