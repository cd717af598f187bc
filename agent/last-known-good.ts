import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";

import { writeFileAtomically } from "../base/atomic-file.ts";
import { messageOf } from "../base/coded-error.ts";
import type { Logger } from "../base/logger.ts";
import { createResource } from "../xds/resource.ts";
import type { Resource } from "../xds/resource.ts";
import { quarantine } from "./state-file.ts";

/** All resources of the host as they were at one moment. */
export interface Generation {
  /** Counts up by one for each that was stored. */
  readonly number: number;
  readonly savedAtMs: number;
  readonly resources: readonly Resource[];
}

/** The last configurations that Envoy was seen to serve with, on disk. */
export interface LastKnownGood {
  /** The newest that is whole; a damaged one is moved aside and the one before it taken. */
  load(): Promise<Generation | undefined>;
  /** Stores one more and forgets all but the newest two. Calls while one is written are joined: the last one counts. */
  save(resources: Iterable<Resource>, nowMs: number): Promise<void>;
}

const FORMAT = "IRONMESH-LKG 1\n";
const HASH_BYTES = 32;
const KEPT = 2;
const FILE = /^generation-(\d{10})\.lkg$/;

export async function openLastKnownGood(stateDir: string, logger: Logger): Promise<LastKnownGood> {
  const folder = join(stateDir, "last-known-good");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  let pending: { readonly resources: readonly Resource[]; readonly nowMs: number } | undefined;
  let writing: Promise<void> | undefined;

  const numbers = async (): Promise<number[]> =>
    (await readdir(folder))
      .flatMap((name) => FILE.exec(name)?.[1] ?? [])
      .map(Number)
      .toSorted((a, b) => b - a);
  const pathOf = (number: number): string => join(folder, `generation-${String(number).padStart(10, "0")}.lkg`);
  const writeAll = async (): Promise<void> => {
    for (let next = pending; next !== undefined; next = pending) {
      pending = undefined;
      const [newest = 0, ...older] = await numbers();
      await writeFileAtomically(pathOf(newest + 1), encodeGeneration({ number: newest + 1, savedAtMs: next.nowMs, resources: next.resources }));
      for (const number of older.slice(KEPT - 2)) await rm(pathOf(number), { force: true });
    }
  };
  return {
    async load() {
      for (const number of await numbers()) {
        try {
          return decodeGeneration(await readFile(pathOf(number)));
        } catch (failure) {
          logger.error({ generation: number, reason: messageOf(failure) }, "a last-known-good configuration is damaged; the one before it is used");
          await quarantine(pathOf(number), failure, logger);
        }
      }
      return undefined;
    },
    save(resources, nowMs) {
      pending = { resources: [...resources], nowMs };
      writing ??= writeAll().finally(() => {
        writing = undefined;
      });
      return writing;
    },
  };
}

/**
 * One file: the line `IRONMESH-LKG 1`; a line of JSON
 * `{number, savedAtMs, types, count}`; then for each resource, big-endian,
 * `u8 index of its type, u16 length of its name, u16 of its version, u32 of its
 * bytes`, and these three; at the end the SHA-256 of all before it.
 */
export function encodeGeneration(generation: Generation): Buffer {
  const { number, savedAtMs, resources } = generation;
  const types = [...new Set(resources.map((resource) => resource.typeUrl))].toSorted();
  const parts: Uint8Array[] = [Buffer.from(`${FORMAT}${JSON.stringify({ number, savedAtMs, types, count: resources.length })}\n`)];
  for (const { typeUrl, name, version, bytes } of resources) {
    const nameBytes = Buffer.from(name);
    const versionBytes = Buffer.from(version);
    const head = Buffer.alloc(9);
    head.writeUInt8(types.indexOf(typeUrl), 0);
    head.writeUInt16BE(nameBytes.length, 1);
    head.writeUInt16BE(versionBytes.length, 3);
    head.writeUInt32BE(bytes.length, 5);
    parts.push(head, nameBytes, versionBytes, bytes);
  }
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return Buffer.concat([...parts, hash.digest()]);
}

/** @throws Error in words for anything that is not one whole generation of this format */
export function decodeGeneration(file: Buffer): Generation {
  if (!file.subarray(0, FORMAT.length).equals(Buffer.from(FORMAT))) throw new Error("it is of another format");
  const body = file.subarray(0, Math.max(0, file.length - HASH_BYTES));
  if (!createHash("sha256").update(body).digest().equals(file.subarray(body.length))) throw new Error("its checksum does not match");
  const headEnd = body.indexOf("\n", FORMAT.length);
  const head = JSON.parse(body.toString("utf8", FORMAT.length, headEnd)) as { number: number; savedAtMs: number; types: string[]; count: number };
  const resources: Resource[] = [];
  let at = headEnd + 1;
  const take = (length: number): Buffer => {
    if (at + length > body.length) throw new Error("it ends within a resource");
    at += length;
    return body.subarray(at - length, at);
  };
  while (at < body.length) {
    const lengths = take(9);
    const typeUrl = head.types[lengths.readUInt8(0)];
    if (typeUrl === undefined) throw new Error("a resource has no type");
    const name = take(lengths.readUInt16BE(1)).toString("utf8");
    const version = take(lengths.readUInt16BE(3)).toString("utf8");
    resources.push(createResource(typeUrl, name, take(lengths.readUInt32BE(5)), version));
  }
  if (resources.length !== head.count) throw new Error(`it holds ${resources.length} resources of ${head.count}`);
  return { number: head.number, savedAtMs: head.savedAtMs, resources };
}
