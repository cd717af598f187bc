import { createHash } from "node:crypto";
import { chmod, lstat, mkdir, readFile, rename } from "node:fs/promises";

import { writeFileAtomically } from "../base/atomic-file.ts";
import { CodedError, messageOf } from "../base/coded-error.ts";
import type { Logger } from "../base/logger.ts";

/**
 * Makes the agent's state directory (0700, the agent's own), or takes the one
 * that is there after closing it to others.
 *
 * @throws CodedError MESH_STATE_DIR_UNUSABLE
 */
export async function prepareStateDir(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    const facts = await lstat(path);
    if (!facts.isDirectory()) throw new Error("it is not a directory");
    const uid = process.getuid?.() ?? 0;
    if (facts.uid !== uid) throw new Error(`it belongs to user ${facts.uid}, the agent is user ${uid}`);
    if ((facts.mode & 0o077) !== 0) await chmod(path, 0o700);
  } catch (cause) {
    throw new CodedError("MESH_STATE_DIR_UNUSABLE", `cannot use the state directory ${path}: ${messageOf(cause)}`, {
      cause,
      facts: { path },
      hint: "stateDir must be a directory of the agent's own user on a disk that survives a reboot",
    });
  }
}

/**
 * A JSON document of the agent's own on disk, 0600, with a checksum over its
 * content: what a power cut or a full disk damaged is noticed.
 */
export async function writeStateFile(path: string, content: unknown): Promise<void> {
  const body = JSON.stringify(content);
  await writeFileAtomically(path, `${sha256(body)}\n${body}\n`);
}

/**
 * Reads what `writeStateFile` wrote. A missing file gives undefined. So does a
 * damaged one (or one that `parse` does not take), after it was moved aside as
 * `<path>.corrupt` with a loud log, so that the agent starts without it and
 * asks anew instead of crashing for ever.
 *
 * @param parse throws for content that it cannot use
 */
export async function readStateFile<T>(path: string, parse: (content: unknown) => T, logger: Logger): Promise<T | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (failure) {
    if ((failure as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw failure;
  }
  try {
    const end = text.indexOf("\n");
    const body = text.slice(end + 1).trimEnd();
    if (sha256(body) !== text.slice(0, Math.max(0, end))) throw new Error("the checksum does not match");
    return parse(JSON.parse(body));
  } catch (failure) {
    await quarantine(path, failure, logger);
    return undefined;
  }
}

/** Moves a damaged file out of the way; one earlier damaged file is kept at most. */
export async function quarantine(path: string, reason: unknown, logger: Logger): Promise<void> {
  logger.error({ path, movedTo: `${path}.corrupt`, reason: messageOf(reason) }, "a file of the agent's state is damaged and was moved aside; what it held is asked for anew");
  await rename(path, `${path}.corrupt`);
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
