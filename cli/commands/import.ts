import { readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import { CodedError } from "../../base/coded-error.ts";
import { formatIssue, type Issue } from "../../base/issue.ts";
import type { ImportFinding } from "../../discovery/registry/consul/import/finding.ts";
import type { EntrySource } from "../../discovery/registry/consul/import/read-entries.ts";
import { isHostname } from "../../model/hostname.ts";
import { dnsLabelProblem, labelKeyProblem } from "../../api/name.ts";
import type { CliContext } from "../context.ts";

interface ImportOptions {
  readonly address?: string;
  readonly datacenter?: string;
  readonly tokenFile?: string;
  readonly caFile?: string;
  readonly fromFile?: string[];
  readonly config?: string;
  readonly registry?: string;
  readonly namespace?: string;
  readonly meshDomain?: string;
  readonly trustDomain?: string;
  readonly serviceLabel: string;
  readonly intentionDefault?: "allow" | "deny";
  readonly strict?: true;
  readonly output: "yaml" | "json";
}

const EXAMPLES = `
Examples:
  ironmesh import consul --token-file /etc/ironmesh/consul-token > imported.yaml
  ironmesh import consul --config /etc/ironmesh/control-plane.yaml
  ironmesh import consul --from-file router.json --from-file resolver.json --intention-default deny
  consul config read -kind service-router -name web | ironmesh import consul --from-file -

The token needs service_prefix "" { policy = "read" }, and mesh = "read" to see also the kinds
that are not translated, and agent_prefix "" { policy = "read" } to see default_intention_policy. Read docs/migrate-from-consul.md for what becomes what.`;

/** `ironmesh import consul`: Consul's config entries in, Istio's resources and what they cannot say out. Nothing is applied. */
export function addImport(program: Command, context: CliContext): void {
  program
    .command("import")
    .description("print what another system's configuration says, in Istio's words")
    .command("consul")
    .description("print Consul's config entries and intentions as resources of the mesh, with what could not be translated")
    .addOption(new Option("--address <url>", "http://, https:// or unix:// address of a Consul agent (default: http://127.0.0.1:8500)").argParser(consulAddress))
    .option("--datacenter <name>", "datacenter to read; the agent's own where absent")
    .option("--token-file <path>", "file that holds the ACL token")
    .option("--ca-file <path>", "PEM file of the roots of the agent's certificate")
    .option("--from-file <path...>", "read entries from JSON, as `consul config read` and /v1/config/KIND print it, instead of an agent; - for standard input (repeatable)")
    .option("--config <path>", "take address, datacenter, files, namespace and domains from the control plane's configuration")
    .option("--registry <name>", "which of the configuration's Consul registries; needed where it has several")
    .addOption(new Option("--namespace <name>", "namespace of the mesh that the services and their workloads are in (default: consul)").argParser(dnsLabel))
    .addOption(new Option("--mesh-domain <domain>", "domain of the mesh (default: mesh.internal)").argParser(domain))
    .addOption(new Option("--trust-domain <domain>", "trust domain of the mesh (default: mesh.internal)").argParser(domain))
    .addOption(new Option("--service-label <key>", "label of WorkloadGroups that names the service").argParser(labelKey).default("app"))
    .addOption(new Option("--intention-default <action>", "what Consul does with calls that no intention speaks of; unless given what the agent says, or else its ACLs' default policy").choices(["allow", "deny"]))
    .option("--strict", "exit with 1 if anything could not be translated")
    .addOption(new Option("-o, --output <form>", "how to print").choices(["yaml", "json"]).default("yaml"))
    .addHelpText("after", EXAMPLES)
    .action(async (options: ImportOptions) => runImport(options, context));
}

async function runImport(options: ImportOptions, context: CliContext): Promise<void> {
  const [{ readConfigEntries }, { translateConfigEntries }, { renderImport, summarizeImport }, { renderValue }] = await Promise.all([
    import("../../discovery/registry/consul/import/read-entries.ts"),
    import("../../discovery/registry/consul/import/translate.ts"),
    import("../consul-import.ts"),
    import("../terminal/output.ts"),
  ]);
  const source = await sourceOf(options, context);
  if (source === undefined) return;
  const read = options.fromFile === undefined ? await readAgent(source) : await readFiles(options.fromFile, context);
  const entries = read.issues.length > 0 ? undefined : readConfigEntries(read.sources);
  const issues = entries?.ok === false ? entries.error : read.issues;
  if (entries?.ok !== true) {
    for (const issue of issues) context.complain(formatIssue(issue));
    return context.setExitCode(2);
  }
  const settings = {
    namespace: source.namespace,
    meshDomain: source.meshDomain,
    trustDomain: source.trustDomain,
    serviceLabel: options.serviceLabel,
    datacenter: source.datacenter,
    intentionDefault: options.intentionDefault ?? read.defaultPolicy,
  };
  const isInDoubt = read.doubt !== undefined && options.intentionDefault === undefined && entries.value.intentions.size > 0;
  const findings = [...read.findings, ...(isInDoubt ? [read.doubt] : []), ...entries.value.findings];
  const translated = translateConfigEntries({ ...entries.value, findings }, settings);
  context.print(options.output === "json" ? renderValue(translated, "json") : renderImport(translated, settings, read.origin));
  context.complain(summarizeImport(translated));
  if (options.strict === true && translated.findings.some(({ effect }) => effect === "lost")) context.setExitCode(1);
}

/** Where to read, and how the mesh calls what is read; flags go before the configuration file. */
interface Source {
  readonly address: string;
  readonly datacenter: string | undefined;
  readonly tokenFile: string | undefined;
  readonly caFile: string | undefined;
  readonly certificateFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly serverName: string | undefined;
  readonly namespace: string;
  readonly meshDomain: string;
  readonly trustDomain: string;
}

async function sourceOf(options: ImportOptions, context: CliContext): Promise<Source | undefined> {
  const [{ CONTROL_PLANE_CONFIG_FILE, controlPlaneSchema }, { readConfig }] = await Promise.all([import("../control-plane/config.ts"), import("../read-config.ts")]);
  const config = options.config === undefined ? controlPlaneSchema.parse({ registries: [{ kind: "consul" }] }) : await readConfig(CONTROL_PLANE_CONFIG_FILE, options.config, context);
  if (config === undefined) return undefined;
  const registries = config.registries.filter((registry) => registry.kind === "consul").filter(({ name }) => options.registry === undefined || name === options.registry);
  const [registry, second] = registries;
  if (registry === undefined || second !== undefined) {
    const problem = registry === undefined ? "has no such Consul registry" : `has several Consul registries: ${registries.map(({ name }) => name).join(", ")}`;
    throw new CodedError("MESH_IMPORT_REGISTRY", `${options.config ?? "the default configuration"} ${problem}`, { hint: "name one with --registry, or give --address instead of --config" });
  }
  return {
    address: options.address ?? registry.address,
    datacenter: options.datacenter ?? registry.datacenter,
    tokenFile: options.tokenFile ?? registry.tokenFile,
    caFile: options.caFile ?? registry.caFile,
    certificateFile: registry.certificateFile,
    keyFile: registry.keyFile,
    serverName: registry.serverName,
    namespace: options.namespace ?? registry.namespace,
    meshDomain: options.meshDomain ?? config.mesh.domain,
    trustDomain: options.trustDomain ?? config.mesh.trustDomain,
  };
}

/** What was read, and what is known of it. */
interface Read {
  /** To show. */
  readonly origin: string;
  readonly sources: readonly EntrySource[];
  readonly issues: readonly Issue[];
  readonly findings: readonly ImportFinding[];
  readonly defaultPolicy: "allow" | "deny" | undefined;
  /** Why that is not certain. */
  readonly doubt: ImportFinding | undefined;
}

async function readAgent({ address, datacenter, tokenFile, serverName, ...files }: Source): Promise<Read> {
  const [{ createConsulClient }, { readAgentEntries }, { followTokenFile }, { consulTls }] = await Promise.all([
    import("../../discovery/registry/consul/client.ts"),
    import("../../discovery/registry/consul/import/read-agent.ts"),
    import("../../discovery/registry/consul/token-file.ts"),
    import("../control-plane/consul-tls.ts"),
  ]);
  const tls = consulTls(files);
  await tls();
  const token = tokenFile === undefined ? undefined : await followTokenFile(tokenFile)();
  const client = createConsulClient({ address, maxConnections: 1, tls, serverName });
  try {
    const answer = await readAgentEntries({ client, datacenter, token, signal: new AbortController().signal });
    return { ...answer, origin: datacenter === undefined ? address : `${address}, datacenter ${datacenter}`, issues: [] };
  } finally {
    client.close();
  }
}

async function readFiles(paths: readonly string[], context: CliContext): Promise<Read> {
  const { parseEntryFile } = await import("../../discovery/registry/consul/import/entry-file.ts");
  const files = await Promise.all(paths.map(async (path) => parseEntryFile(path === "-" ? await context.readInput() : await readText(path), path === "-" ? "(standard input)" : path)));
  return {
    origin: paths.map((path) => (path === "-" ? "standard input" : path)).join(", "),
    sources: files.flatMap((file) => (file.ok ? file.value : [])),
    issues: files.flatMap((file) => (file.ok ? [] : [file.error])),
    findings: [],
    defaultPolicy: undefined,
    doubt: undefined,
  };
}

async function readText(path: string): Promise<string> {
  return readFile(path, "utf8").catch((cause: unknown) => {
    throw new CodedError("MESH_FILE_UNREADABLE", `cannot read ${path}`, { cause, hint: "check the path and its permissions" });
  });
}

function consulAddress(written: string): string {
  const isUnix = /^unix:\/\/\/./.test(written);
  if (isUnix || (/^https?:\/\//.test(written) && URL.canParse(written))) return written;
  throw new InvalidArgumentError("It is http://HOST:PORT, https://HOST:PORT or unix:///PATH.");
}

function dnsLabel(written: string): string {
  if (dnsLabelProblem(written) === undefined) return written;
  throw new InvalidArgumentError("It is a DNS label.");
}

function domain(written: string): string {
  if (isHostname(written) && !written.startsWith("*")) return written;
  throw new InvalidArgumentError("It is a DNS name in lower case.");
}

function labelKey(written: string): string {
  if (labelKeyProblem(written) === undefined) return written;
  throw new InvalidArgumentError("It is the key of a label.");
}
