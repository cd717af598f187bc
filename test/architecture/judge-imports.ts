import { ALTERNATIVES, FENCES, ROOMS, type Room } from "../../architecture.ts";
import { packageOf, type SourceFile, type SourceImport, targetOf } from "./source-file.ts";

/** The room of a path; undefined for a file at the root of the repository. */
function roomNameOf(path: string): string | undefined {
  return path.includes("/") ? path.slice(0, path.indexOf("/")) : undefined;
}

/** Everything about a file's imports that the law forbids, as lines for a person; empty when it keeps it. */
export function judgeImports(file: SourceFile): readonly string[] {
  const name = roomNameOf(file.path);
  const room = ROOMS.find((each) => each.name === name);
  if (name !== undefined && room === undefined) return [`${file.path}: ${name} is no room of architecture.ts`];
  return file.imports.flatMap((each) => {
    const words = judgeImport(file, room, each);
    return words === undefined ? [] : [`${file.path}:${each.line}: ${words}`];
  });
}

function judgeImport(file: SourceFile, room: Room | undefined, { specifier }: SourceImport): string | undefined {
  if (specifier === undefined) return room?.name === "test" ? undefined : "imports something computed, which nobody can judge";
  return specifier.startsWith(".") ? judgeOwn(file, room, specifier) : judgePackage(file, packageOf(specifier));
}

function judgeOwn(file: SourceFile, room: Room | undefined, specifier: string): string | undefined {
  const target = targetOf(file.path, specifier);
  if (target.startsWith("..")) return `imports ${specifier}, which lies outside the repository`;
  const targetRoom = roomNameOf(target);
  if (targetRoom === room?.name) return judgeAlternatives(file.path, target);
  if (room === undefined) return `imports ${target}: a file at the root imports none of ours`;
  if (room.mayImport === "all") return undefined;
  if (targetRoom !== undefined && room.mayImport.includes(targetRoom)) return undefined;
  const allowed = room.mayImport.length === 0 ? "nothing" : room.mayImport.join(", ");
  return `imports ${target}, but ${room.name} may import ${allowed}: ${room.reason}`;
}

function judgeAlternatives(path: string, target: string): string | undefined {
  for (const { folder, reason } of ALTERNATIVES) {
    const [from, to] = [alternativeOf(folder, path), alternativeOf(folder, target)];
    if (from !== undefined && to !== undefined && from !== to) return `imports ${target}, but ${from} and ${to} are alternatives: ${reason}`;
  }
  return undefined;
}

/** The subfolder of `folder` that `path` lies in; undefined for the folder's own files, which all may use. */
function alternativeOf(folder: string, path: string): string | undefined {
  if (!path.startsWith(`${folder}/`)) return undefined;
  const rest = path.slice(folder.length + 1);
  return rest.includes("/") ? rest.slice(0, rest.indexOf("/")) : undefined;
}

function judgePackage(file: SourceFile, name: string): string | undefined {
  const fence = FENCES.find((each) => each.package === name);
  if (fence === undefined) {
    return name.startsWith("node:") ? undefined : `imports ${name}, which has no fence in architecture.ts (write Node's own modules as node:…)`;
  }
  const isAllowed = ["test", ...fence.allowedIn].some((place) => file.path === place || file.path.startsWith(`${place}/`));
  return isAllowed ? undefined : `imports ${name}, allowed in ${["test", ...fence.allowedIn].join(", ")}: ${fence.reason}`;
}
