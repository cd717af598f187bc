import { type Command, Option } from "commander";
import type { ConfigView, EndpointView, HostView, JournalView, RegistryView, ServiceView } from "../../discovery/http/api.ts";
import { foreignText } from "../../base/foreign-text.ts";
import { formatHostPort } from "../../model/address.ts";
import { formatIssue, type Issue } from "../../base/issue.ts";
import { OUTPUT_FORMATS, type OutputFormat, renderRows } from "../terminal/output.ts";
import type { Column } from "../terminal/table.ts";
import type { CliContext } from "../context.ts";

/** One thing that `get` lists. */
interface Listing<T> {
  readonly word: string;
  readonly aliases: readonly string[];
  readonly summary: string;
  readonly path: string;
  readonly columns: readonly Column<T>[];
  /** What the table says besides. */
  readonly notes?: (rows: readonly T[]) => readonly string[];
}

const services: Listing<ServiceView> = {
  word: "services",
  aliases: ["service", "svc"],
  summary: "services of the merged catalog",
  path: "/api/v1/services",
  columns: [
    ["NAMESPACE", (row) => row.namespace],
    ["NAME", (row) => row.name],
    ["HOSTNAME", (row) => row.hostname],
    ["PORTS", (row) => row.ports.map((port) => `${port.number}/${port.protocol}`).join(",")],
    ["VIRTUAL ADDRESSES", (row) => row.vips.join(",")],
    ["ENDPOINTS", (row) => `${row.endpoints.healthy}/${row.endpoints.total}`],
    ["REGISTRY", (row) => row.registries.join("+")],
  ],
  notes: (rows) => rows.flatMap((row) => row.notes.map((note) => `${row.namespace}/${row.name}: ${note}`)),
};

const endpoints: Listing<EndpointView> = {
  word: "endpoints",
  aliases: ["endpoint", "ep"],
  summary: "where the services are answered",
  path: "/api/v1/endpoints",
  columns: [
    ["SERVICE", (row) => `${row.service}:${row.servicePort}`],
    ["ENDPOINT", (row) => [row.address, ...row.additionalAddresses].map((address) => formatHostPort(address, row.port)).join(",")],
    ["WORKLOAD", (row) => row.workload],
    ["HEALTH", (row) => row.health],
    ["TLS", (row) => (row.meshed ? "mutual" : "plain")],
    ["IDENTITY", (row) => row.identity],
    ["REGISTRY", (row) => row.registry],
  ],
  notes: (rows) => [...new Set(rows.filter(({ detail }) => detail !== "").map((row) => `${row.workload} at ${formatHostPort(row.address, row.port)} is ${row.health}: ${row.detail}`))],
};

const hosts: Listing<HostView> = {
  word: "hosts",
  aliases: ["host"],
  summary: "enrolled hosts",
  path: "/api/v1/hosts",
  columns: [
    ["ID", (row) => row.id],
    ["NAME", (row) => row.name],
    ["STATE", (row) => row.state],
    ["ADDRESSES", (row) => row.addresses.join(",")],
    ["WORKLOADS", (row) => row.workloads.map((workload) => `${workload.name}(${workload.health})`).join(",")],
    ["ENVOY", (row) => row.envoyVersion],
    ["LAST SEEN", (row) => row.lastSeen],
    ["ISSUES", (row) => row.issues.length],
  ],
  notes: (rows) => rows.flatMap((row) => row.issues.map((issue) => `${row.name} (${row.id}): ${issue}`)),
};

const registries: Listing<RegistryView> = {
  word: "registries",
  aliases: ["registry"],
  summary: "registries with the age of their data",
  path: "/api/v1/registries",
  columns: [
    ["NAME", (row) => row.name],
    ["KIND", (row) => row.kind],
    ["SYNCED", (row) => (row.synced ? "yes" : "no")],
    ["SERVICES", (row) => row.services],
    ["WORKLOADS", (row) => row.workloads],
    ["AGE", (row) => (row.ageSeconds === undefined ? "" : `${Math.round(row.ageSeconds)}s`)],
    ["ERROR", (row) => row.error],
  ],
  notes: (rows) =>
    rows.flatMap(({ name, hint, failingSince, notes, published }) => [
      ...(failingSince === "" ? [] : [`${name}: failing since ${failingSince}${hint === "" ? "" : `: ${hint}`}`]),
      ...notes.map((note) => `${name}: ${note}`),
      ...(published === undefined ? [] : publicationNotes(published).map((note) => `${name}: ${note}`)),
    ]),
};

function publicationNotes({ services, instances, pending, error, hint, failingSince, notes }: NonNullable<RegistryView["published"]>): string[] {
  return [
    `publishes ${counted(instances, "instance")} of ${counted(services, "service")}${pending === 0 ? "" : `, ${pending} still to be written`}`,
    ...(error === "" ? [] : [`publishing fails since ${failingSince}: ${error}${hint === "" ? "" : `: ${hint}`}`]),
    ...notes,
  ];
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

const config: Listing<ConfigView> = {
  word: "config",
  aliases: ["configs"],
  summary: "what people told the mesh, and what became of it",
  path: "/api/v1/config",
  columns: [
    ["KIND", (row) => row.kind],
    ["NAMESPACE", (row) => row.namespace],
    ["NAME", (row) => row.name],
    ["STATE", (row) => row.state],
    ["FROM", (row) => row.position || row.origin],
    ["ISSUES", (row) => row.issues.length],
  ],
  notes: (rows) => rows.flatMap((row) => row.issues.map((issue: Issue) => formatIssue(issue))),
};

/** `ironmesh get WHAT`: one subcommand for each listing. */
export function addGet(program: Command, context: CliContext): void {
  const get = program.command("get").description("list what the mesh knows");
  addListing(get, services, context);
  addListing(get, endpoints, context, (command) => command.argument("[service]", "any name that one service is reached by, or its NAMESPACE/NAME"));
  addListing(get, hosts, context);
  addListing(get, registries, context);
  addListing(get, config, context);
  addJournal(get, context);
}

type JournalEntry = JournalView["entries"][number];

const JOURNAL_COLUMNS: readonly Column<JournalEntry>[] = [
  ["TIME", (row) => new Date(row.atMs).toISOString()],
  ["WRITER", (row) => `${row.writer}#${row.sequence}`],
  ["EVENT", (row) => row.type],
  ["FACTS", (row) => Object.entries(row.facts).map(([name, value]) => `${name}=${factText(value)}`).join(" ")],
];

/** The only listing that grows for ever, so that it shows its end; and one that may have been tampered with. */
function addJournal(parent: Command, context: CliContext): void {
  parent
    .command("journal")
    .description("what the certificate authority issued and refused, the newest last")
    .option("--last <count>", "how many entries of each control plane", "100")
    .addOption(new Option("-o, --output <form>", "how to print").choices(OUTPUT_FORMATS).default("table"))
    .action(async ({ last, output }: { last: string; output: OutputFormat }) => {
      const { entries, problems } = (await context.api().get(`/api/v1/journal?last=${encodeURIComponent(last)}`)) as JournalView;
      context.print(renderRows(entries, JOURNAL_COLUMNS, output, "no entries"));
      if (problems.length === 0) return;
      for (const problem of problems) context.complain(`the journal is damaged: ${problem}`);
      context.setExitCode(1);
    });
}

function factText(value: JournalEntry["facts"][string]): string {
  if (typeof value === "string") return /\s/.test(value) ? JSON.stringify(value) : value;
  return typeof value === "number" ? String(value) : value.join(",");
}

function addListing<T>(parent: Command, listing: Listing<T>, context: CliContext, shape = (command: Command): Command => command): void {
  shape(parent.command(listing.word))
    .aliases(listing.aliases)
    .description(listing.summary)
    .addOption(new Option("-o, --output <form>", "how to print").choices(OUTPUT_FORMATS).default("table"))
    .action(async (...input: unknown[]) => {
      const command = input.at(-1) as Command;
      const [service] = command.args;
      const query = service === undefined ? "" : `?service=${encodeURIComponent(service)}`;
      const rows = (await context.api().get(listing.path + query)) as readonly T[];
      const format = command.opts<{ output: OutputFormat }>().output;
      context.print(renderRows(rows, listing.columns, format, `no ${listing.word}`));
      const notes = format === "table" ? (listing.notes?.(rows) ?? []) : [];
      if (notes.length > 0) context.print(`\n${notes.map((note) => foreignText(note)).join("\n")}`);
    });
}

