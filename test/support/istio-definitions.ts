import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { parseAllDocuments } from "yaml";
import { cacheFolder, isExecutable, onPath } from "./go-peer.ts";
import type { KubernetesObject } from "./kubernetes-objects.ts";

/** The version that the module of tools pins, with its sum. */
const VERSION = "1.32.0";
const TOOLS = join(import.meta.dirname, "..", "peers", "tools-istio");

function cachedPath(): string {
  return join(cacheFolder(), `istio-definitions-${VERSION}.yaml`);
}

/** Istio's own definitions of its kinds (CustomResourceDefinitions); undefined where they were not fetched. */
export function istioDefinitions(): KubernetesObject[] | undefined {
  if (!existsSync(cachedPath())) return undefined;
  return parseAllDocuments(readFileSync(cachedPath(), "utf8")).map((document) => document.toJS() as KubernetesObject);
}

/** Fetches them into the cache, once, out of Istio's Go module. @returns why they are missing still */
export async function ensureIstioDefinitions(say: (text: string) => void = console.log): Promise<string | undefined> {
  if (existsSync(cachedPath())) return undefined;
  const [go] = onPath("go").filter(isExecutable);
  if (go === undefined) return "there is no go to fetch them with: install Go (https://go.dev/dl), on PATH";
  await mkdir(cacheFolder(), { recursive: true });
  const folder = await mkdtemp(join(cacheFolder(), "istio-"));
  try {
    say(`  istio: fetching the definitions of its kinds, ${VERSION}, once`);
    const env = { ...process.env, GOPATH: folder, GOMODCACHE: join(folder, "modules"), GOFLAGS: "-modcacherw" };
    const { stdout } = await promisify(execFile)(go, ["mod", "download", "-json", "istio.io/api"], { cwd: TOOLS, env });
    const { Dir } = JSON.parse(stdout) as { readonly Dir: string };
    const partial = join(folder, "definitions.yaml");
    await copyFile(join(Dir, "kubernetes", "customresourcedefinitions.gen.yaml"), partial);
    await rename(partial, cachedPath());
    return undefined;
  } catch (failure) {
    return `they cannot be fetched: ${failure instanceof Error ? failure.message : String(failure)}`;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
