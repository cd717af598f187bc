import { readFile, stat } from "node:fs/promises";
import { type ParsedDocument, parseDocuments } from "../../api/document.ts";
import { issueCodes, type IssueCode } from "../../api/issue-codes.ts";
import { yamlLimits } from "../../api/yaml-value.ts";
import { messageOf } from "../../base/coded-error.ts";
import type { Issue } from "../../base/issue.ts";
import type { ConfigUnit } from "./unit.ts";

/** What is known of one file from the last look at it. */
export interface SeenFile {
  /** Of the content in `unit`; empty where it could not be read. */
  readonly fingerprint: string;
  readonly unit: ConfigUnit;
  /** What it said when it was last believed. */
  readonly believed: readonly ParsedDocument[];
  /** A newer content that takes something away, and since when it stands unchanged. */
  readonly doubted?: { readonly fingerprint: string; readonly sinceMs: number };
}

export interface FileLook {
  /** By a clock that nobody sets. */
  readonly nowMs: number;
  /** How long a content that takes something away must stand unchanged before it is believed. */
  readonly settleMs: number;
}

/**
 * Reads one file. Whoever writes it in place empties it first and may take its
 * time: a file that is empty keeps what it said, and one that lacks something is
 * believed when it has not changed for a while. To take away all that a file
 * says, it is deleted.
 *
 * @returns undefined for a file that is gone, or is a link to a directory
 */
export async function readFileUnit(path: string, name: string, before: SeenFile | undefined, { nowMs, settleMs }: FileLook): Promise<SeenFile | undefined> {
  const believed = before?.believed ?? [];
  const failed = (code: IssueCode, message: string, remedy: string): SeenFile => ({ fingerprint: "", unit: problemUnit(path, name, code, message, remedy), believed });
  try {
    const status = await stat(path, { bigint: true });
    if (!status.isFile()) return undefined;
    const { mtimeNs, ctimeNs, size, ino } = status;
    const fingerprint = [mtimeNs, ctimeNs, size, ino].join(":");
    if (before?.fingerprint === fingerprint && before.unit.problem === undefined) return { fingerprint, unit: before.unit, believed };
    if (size === 0n) return failed("IM0204", "is empty", "write what it shall say, or delete it");
    const sinceMs = before?.doubted?.fingerprint === fingerprint ? before.doubted.sinceMs : nowMs;
    const isSettled = nowMs - sinceMs >= settleMs;
    if (!isSettled && before?.doubted?.fingerprint === fingerprint) return before;
    // UTF-8 takes at most four bytes for a character; the parser judges the exact length.
    if (size > BigInt(yamlLimits.length) * 4n) throw new Error("the file is too large");
    const { documents } = parseDocuments(await readFile(path, "utf8"), path, "files");
    const unit: ConfigUnit = { origin: "files", name, documents };
    if (before !== undefined && !isSettled && lacksSome(documents, believed)) return { ...before, doubted: { fingerprint, sinceMs } };
    return { fingerprint, unit, believed: documents };
  } catch (failure) {
    if (failure instanceof Error && "code" in failure && failure.code === "ENOENT") return undefined;
    return failed("IM0203", `cannot be read: ${messageOf(failure)}`, "check its permissions");
  }
}

function lacksSome(documents: readonly ParsedDocument[], believed: readonly ParsedDocument[]): boolean {
  const keys = new Set(documents.map(({ key }) => key));
  return believed.some(({ key }) => key !== undefined && !keys.has(key));
}

/** A file, or with an empty name the directory, that cannot tell what it says. */
export function problemUnit(path: string, name: string, code: IssueCode, message: string, remedy: string): ConfigUnit {
  const problem: Issue = { code, severity: issueCodes[code].severity, message, path: "", remedy, position: { file: path, line: 1, column: 1 } };
  return { origin: "files", name, documents: [], problem };
}
