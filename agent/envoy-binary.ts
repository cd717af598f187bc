import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";

import { CodedError, messageOf } from "../base/coded-error.ts";

/** The releases whose API and behaviour what we generate was tested with. */
export const ACCEPTED_ENVOY_RELEASES: readonly string[] = ["1.40"];

export interface EnvoyBinary {
  readonly path: string;
  /** `1.40.0` */
  readonly version: string;
}

const run = promisify(execFile);

/**
 * Finds Envoy and asks its version.
 *
 * @throws CodedError MESH_ENVOY_NOT_FOUND, MESH_ENVOY_VERSION
 */
export async function findEnvoy(configured: string | undefined, searchPath: string): Promise<EnvoyBinary> {
  const candidates = configured === undefined ? searchPath.split(delimiter).map((folder) => join(folder || ".", "envoy")) : [configured];
  for (const path of candidates) {
    if (await isExecutable(path)) return { path, version: await envoyVersion(path) };
  }
  throw new CodedError("MESH_ENVOY_NOT_FOUND", configured === undefined ? "there is no envoy on PATH" : `there is no executable envoy at ${configured}`, {
    facts: { candidates },
    hint: "install Envoy 1.40, or name it as envoy.path; its folder must be open to the user that it runs as",
  });
}

async function envoyVersion(path: string): Promise<string> {
  let output: string;
  try {
    output = (await run(path, ["--version"], { timeout: 20_000 })).stdout;
  } catch (cause) {
    throw new CodedError("MESH_ENVOY_VERSION", `cannot run ${path}: ${messageOf(cause)}`, { cause, hint: "is it built for this machine?" });
  }
  // envoy  version: 7b8baff1…/1.40.0/Clean/RELEASE/BoringSSL
  const version = /version: [^/\s]+\/(\d+\.\d+\.\d+[^/]*)\//.exec(output)?.[1];
  const release = version?.split(".").slice(0, 2).join(".");
  if (version !== undefined && release !== undefined && ACCEPTED_ENVOY_RELEASES.includes(release)) return version;
  throw new CodedError("MESH_ENVOY_VERSION", `${path} is envoy ${version ?? "of unknown version"}, this agent works with ${ACCEPTED_ENVOY_RELEASES.join(", ")}`, {
    facts: { path, output: output.trim() },
    hint: "each release changes the API: install one that is in the list, or another version of the agent",
  });
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** A user to run something as. */
export interface UserIds {
  readonly uid: number;
  readonly gid: number;
}

/** Asks the system (LDAP and all) who a user is. @throws CodedError MESH_UNKNOWN_USER */
export async function lookUpUser(user: string | number): Promise<UserIds> {
  try {
    const { stdout } = await run("getent", ["passwd", String(user)], { timeout: 10_000 });
    const [, , uid, gid] = stdout.trim().split(":");
    if (/^\d+$/.test(uid ?? "") && /^\d+$/.test(gid ?? "")) return { uid: Number(uid), gid: Number(gid) };
    throw new Error(`getent printed ${stdout.trim()}`);
  } catch (cause) {
    // A number needs no entry.
    if (typeof user === "number") return { uid: user, gid: user };
    throw new CodedError("MESH_UNKNOWN_USER", `there is no user ${user}`, { cause, hint: `create it: useradd --system --no-create-home --shell /usr/sbin/nologin ${user}` });
  }
}
