import { readFile } from "node:fs/promises";
import { CodedError } from "../../base/coded-error.ts";
import { SecretBytes } from "../../base/secret-bytes.ts";
import type { TlsMaterial } from "../../discovery/registry/consul/tls-line.ts";
import type { ConsulRegistryConfig } from "./consul-config.ts";

/** Reads what a Consul registry's configuration names for TLS, anew at each call; rejects with `MESH_FILE_UNREADABLE`. */
export function consulTls({ caFile, certificateFile, keyFile }: Pick<ConsulRegistryConfig, "caFile" | "certificateFile" | "keyFile">): () => Promise<TlsMaterial> {
  return async () => ({
    ...(caFile === undefined ? {} : { ca: await readPem(caFile) }),
    ...(certificateFile === undefined ? {} : { certificate: await readPem(certificateFile) }),
    ...(keyFile === undefined ? {} : { key: new SecretBytes(await readPem(keyFile)) }),
  });
}

async function readPem(path: string): Promise<string> {
  return readFile(path, "utf8").catch((cause: unknown) => {
    throw new CodedError("MESH_FILE_UNREADABLE", `cannot read ${path}`, { cause, hint: "check the path and its permissions" });
  });
}
