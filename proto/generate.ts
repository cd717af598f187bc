/**
 * Generates `proto/gen`: Envoy's API from the descriptors beside this file and
 * our own contract from its .proto source. Nothing generated is committed.
 * The plugin is fed a CodeGeneratorRequest directly, so no protoc is needed.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponseSchema,
  type FileDescriptorProto,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { ENVOY_PROTOS } from "./envoy-protos.ts";

const here = import.meta.dirname;
const out = join(here, "gen");
const require = createRequire(import.meta.url);

function envoyFiles(): FileDescriptorProto[] {
  const packed = readFileSync(join(here, "envoy-1.40-descriptors.binpb.gz"));
  return fromBinary(FileDescriptorSetSchema, gunzipSync(packed)).file;
}

function ownFiles(): FileDescriptorProto[] {
  const buf = join(dirname(require.resolve("@bufbuild/buf/package.json")), "bin", "buf");
  // It wants a cache even with nothing to fetch, by default in the home folder; here it goes with the old types.
  const env = { ...process.env, BUF_CACHE_DIR: join(out, ".buf-cache") };
  return fromBinary(FileDescriptorSetSchema, execFileSync(buf, ["build", here, "--as-file-descriptor-set", "-o", "-"], { maxBuffer: 1 << 26, env })).file;
}

/** The files needed to generate `roots`, dependencies first. */
function closure(roots: readonly string[], byName: ReadonlyMap<string, FileDescriptorProto>): FileDescriptorProto[] {
  const ordered = new Map<string, FileDescriptorProto>();
  const visit = (name: string): void => {
    if (ordered.has(name)) return;
    const file = byName.get(name);
    if (file === undefined) throw new Error(`no descriptor for ${name}`);
    for (const dependency of file.dependency) visit(dependency);
    ordered.set(name, file);
  };
  roots.forEach(visit);
  return [...ordered.values()];
}

function generate(files: readonly FileDescriptorProto[]): void {
  const request = create(CodeGeneratorRequestSchema, {
    protoFile: [...files],
    fileToGenerate: files.map((file) => file.name).filter((name) => !name.startsWith("google/protobuf/")),
    parameter: "target=js+dts,import_extension=js",
  });
  const plugin = join(dirname(require.resolve("@bufbuild/protoc-gen-es/package.json")), "bin", "protoc-gen-es");
  const answer = execFileSync(process.execPath, [plugin], {
    input: toBinary(CodeGeneratorRequestSchema, request),
    maxBuffer: 1 << 28,
  });
  const response = fromBinary(CodeGeneratorResponseSchema, answer);
  if (response.error !== "") throw new Error(response.error);
  rmSync(out, { recursive: true, force: true });
  for (const file of response.file) {
    const path = join(out, file.name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, file.content);
  }
  console.log(`proto/gen: ${response.file.length} files`);
}

const own = ownFiles();
const byName = new Map([...envoyFiles(), ...own].map((file) => [file.name, file]));
generate(closure([...ENVOY_PROTOS, "ironmesh/agent/v1/agent.proto"], byName));
