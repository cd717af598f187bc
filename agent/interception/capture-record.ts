import { readFile, rm } from "node:fs/promises";
import { writeFileAtomically } from "../../base/atomic-file.ts";
import { CodedError } from "../../base/coded-error.ts";
import type { CaptureExtent } from "./capture-extent.ts";
import type { Backend } from "./host-facts.ts";
import type { CapturePlan } from "./plan.ts";

/** What should be in force: a plan, and how much of it. */
export interface WantedCapture extends CaptureExtent {
  readonly plan: CapturePlan;
}

/** What we put on the host beside rules, and nobody else: exactly this is taken away again. */
export interface OwnedPieces {
  /** Ranges with a local route of ours. */
  readonly routes: readonly string[];
  /** Addresses that we added to the loopback device. */
  readonly addresses: readonly string[];
}

/**
 * What is applied on this host, on disk before it is applied: a cleanup after
 * a crash at any point is computed from it. Its owned pieces are never fewer
 * than those on the host.
 */
export interface CaptureRecord extends WantedCapture {
  readonly version: 1;
  readonly backend: Backend;
  readonly owned: OwnedPieces;
  /** Tables and chains of iptables that stay: they were there before our first apply, as `iptables nat` and `iptables nat OUTPUT`. */
  readonly xtablesBefore: readonly string[];
  /** The back end that was in use before, until its rules are gone. */
  readonly replaced?: { readonly backend: Backend; readonly xtablesBefore: readonly string[] } | undefined;
  /** The last plan that was confirmed; absent where none ever was. */
  readonly confirmed?: CapturePlan;
  /** True while `plan` waits for its confirmation. */
  readonly isPending: boolean;
  /** Hash of our rules as the kernel listed them after the apply; absent while one is under way. */
  readonly fingerprint?: string | undefined;
}

/** The record, or undefined where nothing is applied. A file that cannot be read as one is an error: guessing would leave rules behind. */
export async function readCaptureRecord(path: string): Promise<CaptureRecord | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new CodedError("MESH_CAPTURE_RECORD_UNREADABLE", `cannot read ${path}`, { cause, facts: { path } });
  }
  try {
    const record = JSON.parse(text) as CaptureRecord;
    if (record.version !== 1) throw new Error(`version ${String(record.version)} is not known`);
    return record;
  } catch (cause) {
    throw new CodedError("MESH_CAPTURE_RECORD_UNREADABLE", `${path} is no record of applied capture rules`, {
      cause,
      facts: { path },
      hint: "it was written by a newer version, or by hand; remove the tables ironmesh and ironmesh_guard, then the file",
    });
  }
}

export function captureRecordText(record: CaptureRecord): string {
  return `${JSON.stringify(record, undefined, 1)}\n`;
}

export async function writeCaptureRecord(path: string, record: CaptureRecord): Promise<void> {
  await writeFileAtomically(path, captureRecordText(record));
}

export async function removeCaptureRecord(path: string): Promise<void> {
  await rm(path, { force: true });
}
