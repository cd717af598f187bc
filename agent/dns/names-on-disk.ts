import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { chmod, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { writeFileAtomically } from "../../base/atomic-file.ts";
import { messageOf } from "../../base/coded-error.ts";
import type { Logger } from "../../base/logger.ts";
import { HostConfigSchema } from "../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { createResource } from "../../xds/resource.ts";
import type { Resource } from "../../xds/resource.ts";
import { TYPE_URLS } from "../../xds/type-urls.ts";
import { decodeGeneration, encodeGeneration } from "../last-known-good.ts";
import type { LastKnownGood } from "../last-known-good.ts";
import { knownNames } from "./known-names.ts";
import type { NameTable } from "./name-table.ts";

/**
 * Of the state directory: names alone, for whoever answers them without an agent
 * and may read nothing else. Readable by everybody, in a directory that nobody
 * else may enter: systemd shows this one folder to ironmesh-dns.service.
 */
export const NAMES_FOLDER = "names";
const FILE = "names.lkg";

/** The same last known good configurations, whose names are also kept apart. That this fails is no reason not to keep the rest. */
export function keepNamesApart(lastKnownGood: LastKnownGood, folder: string, logger: Logger): LastKnownGood {
  let written: Buffer | undefined;
  let writing: Promise<void> = Promise.resolve();

  async function write(resources: readonly Resource[]): Promise<void> {
    try {
      // The time is none of its content: what did not change is not written.
      const content = encodeGeneration({ number: 1, savedAtMs: 0, resources: namesOf(resources) });
      if (written?.equals(content) === true) return;
      await mkdir(folder, { recursive: true });
      // Whatever the umask takes away.
      await chmod(folder, 0o755);
      await writeFileAtomically(join(folder, FILE), content, 0o644);
      written = content;
    } catch (failure) {
      logger.error({ folder, reason: messageOf(failure) }, "the names for who answers without an agent cannot be written");
    }
  }

  function keep(resources: readonly Resource[]): Promise<void> {
    writing = writing.then(() => write(resources));
    return writing;
  }

  return {
    async load() {
      const generation = await lastKnownGood.load();
      if (generation !== undefined) await keep(generation.resources);
      return generation;
    },
    async save(resources, nowMs) {
      const all = [...resources];
      await lastKnownGood.save(all, nowMs);
      await keep(all);
    },
  };
}

/** What `keepNamesApart` wrote; undefined where that is nothing. Rejects where it cannot be read. */
export async function readNames(folder: string): Promise<NameTable | undefined> {
  try {
    return knownNames(decodeGeneration(await readFile(join(folder, FILE))).resources);
  } catch (failure) {
    if ((failure as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw failure;
  }
}

/** The names, and of the host's own configuration the one thing that reading them takes. */
function namesOf(resources: readonly Resource[]): readonly Resource[] {
  return resources.flatMap((resource) => {
    if (resource.typeUrl === TYPE_URLS.nameRecord) return [resource];
    if (resource.typeUrl !== TYPE_URLS.hostConfig) return [];
    const { meshDomain } = fromBinary(HostConfigSchema, resource.bytes);
    return [createResource(TYPE_URLS.hostConfig, resource.name, toBinary(HostConfigSchema, create(HostConfigSchema, { meshDomain })))];
  });
}
