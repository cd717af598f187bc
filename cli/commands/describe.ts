import { type Command, Option } from "commander";
import { foreignText } from "../../base/foreign-text.ts";
import type { ServiceDescriptionView } from "../../discovery/http/api.ts";
import { formatHostPort } from "../../model/address.ts";
import type { CliContext } from "../context.ts";
import { OUTPUT_FORMATS, type OutputFormat, renderValue } from "../terminal/output.ts";
import { type Column, renderTable } from "../terminal/table.ts";

type Row<K extends "members" | "ports" | "endpoints" | "registries" | "configuration"> = ServiceDescriptionView[K][number];

/** One instance, with all service ports that it answers at one of its own. */
interface EndpointRow extends Omit<Row<"endpoints">, "servicePort"> {
  readonly servicePorts: readonly number[];
}

/** `ironmesh describe service NAME`: where everything about a service comes from, and why each endpoint does or does not serve. */
export function addDescribe(program: Command, context: CliContext): void {
  const describe = program.command("describe").description("explain one thing");
  describe
    .command("service")
    .alias("svc")
    .description("where a service comes from, and why each of its endpoints does or does not get traffic")
    .argument("<service>", "any name that it is reached by, or NAMESPACE/NAME")
    .addOption(new Option("-o, --output <form>", "how to print").choices(["text", ...OUTPUT_FORMATS.slice(1)]).default("text"))
    .addHelpText("after", "\nExamples:\n  ironmesh describe service default/reviews\n  ironmesh describe service reviews.service.consul -o json")
    .action(async (service: string, options: { output: "text" | Exclude<OutputFormat, "table"> }) => {
      const view = (await context.api().get(`/api/v1/describe/service?service=${encodeURIComponent(service)}`)) as ServiceDescriptionView;
      context.print(options.output === "text" ? renderDescription(view) : renderValue(view, options.output));
    });
}

/** For people: what is not there is not mentioned. */
export function renderDescription(view: ServiceDescriptionView): string {
  const { key, hostname, names, isInForce, vips, resolution, members, ports, configuration, registries } = view;
  const endpoints = byPlace(view.endpoints);
  const head: Column<readonly [string, string]>[] = [["", ([label]) => label], ["", ([, text]) => text]];
  const facts = [
    ["Service:", key],
    ["Hostname:", isInForce ? hostname : `${hostname}, which it does not have: it gets no traffic`],
    ["Also called:", names.slice(1).filter((name) => !vips.includes(name)).join(", ")],
    ["Virtual addresses:", vips.join(", ")],
    ["Endpoints:", `found ${FOUND[resolution]}; ${endpoints.filter(({ getsTraffic }) => getsTraffic).length} of ${endpoints.length} get traffic`],
  ] as const;
  const sections = [
    renderTable(head, facts.filter(([, text]) => text !== "")).trimStart(),
    section("Made of", MEMBERS, members),
    section("Ports", PORTS, ports),
    section("Endpoints", endpointColumns(endpoints), endpoints),
    section("Configuration in force", CONFIGURATION, configuration),
    section("Registries", REGISTRIES, registries),
    list("Findings", findingsOf(view)),
  ];
  return sections.filter((text) => text !== "").join("\n\n");
}

const FOUND = { static: "by address", dns: "by DNS", passthrough: "where the caller dials" } as const;

const MEMBERS: readonly Column<Row<"members">>[] = [
  ["REGISTRY", ({ source }) => source.registry],
  ["OBJECT", ({ source }) => source.object],
  ["AS", ({ ownKey }) => ownKey],
  ["BECAUSE", ({ rule, reason }) => [rule === undefined ? "it is its own" : `sameness[${rule}]`, ...(reason === undefined ? [] : [reason])].join("; ")],
];

const PORTS: readonly Column<Row<"ports">>[] = [
  ["PORT", ({ number }) => number],
  ["NAME", ({ name }) => name],
  ["PROTOCOL", ({ protocol }) => protocol],
  ["FROM", ({ source }) => `${source.registry} ${source.object}`],
];

const ENDPOINTS: readonly Column<EndpointRow>[] = [
  ["PORT", ({ servicePorts }) => servicePorts.join(",")],
  ["ENDPOINT", ({ addresses, port }) => addresses.map((address) => (port === undefined ? address : formatHostPort(address, port))).join(",")],
  ["WORKLOAD", ({ workload, hostId }) => (hostId === undefined || workload.includes(hostId) ? workload : `${workload} on ${hostId}`)],
  ["FROM", ({ source }) => `${source.registry} ${source.object}`],
  ["TLS", ({ meshed }) => (meshed ? "mutual" : "plain")],
  ["TRAFFIC", ({ getsTraffic }) => (getsTraffic ? "yes" : "no")],
  ["WHY", ({ reason }) => reason],
];

const HINTS: readonly Column<EndpointRow>[] = [
  ["ZONE HINTS", ({ zoneHints }) => zoneHints.join(",")],
  ["NODE HINTS", ({ nodeHints }) => nodeHints.join(",")],
];

/** With those of hints that there are. */
function endpointColumns(endpoints: readonly EndpointRow[]): readonly Column<EndpointRow>[] {
  return ENDPOINTS.toSpliced(-2, 0, ...HINTS.filter(([, hints]) => endpoints.some((endpoint) => hints(endpoint) !== "")));
}

const CONFIGURATION: readonly Column<Row<"configuration">>[] = [
  ["RESOURCE", ({ resource }) => resource],
  ["AT", ({ position }) => position],
];

const REGISTRIES: readonly Column<Row<"registries">>[] = [
  ["NAME", ({ name }) => name],
  ["SYNCED", ({ synced }) => (synced ? "yes" : "no")],
  ["AGE", ({ ageSeconds }) => (ageSeconds === undefined ? "" : `${Math.round(ageSeconds)}s`)],
  ["ERROR", ({ error, failingSince }) => (error === "" ? "" : `${error} (since ${failingSince})`)],
];

function byPlace(endpoints: readonly Row<"endpoints">[]): EndpointRow[] {
  const groups = Map.groupBy(endpoints, ({ servicePort: _servicePort, ...place }) => JSON.stringify(place));
  return [...groups.values()].flatMap(([first, ...others]) => {
    if (first === undefined) return [];
    const { servicePort, ...place } = first;
    return [{ ...place, servicePorts: [servicePort, ...others.map((other) => other.servicePort)] }];
  });
}

function findingsOf({ key, members, pending, namesakes, lostNames, notes }: ServiceDescriptionView): string[] {
  const first = members[0];
  const own = first === undefined ? key : `${first.source.registry}/${first.ownKey}`;
  const rule = ({ source, ownKey }: { readonly source: { readonly registry: string }; readonly ownKey: string }): string => `sameness: [{of: [${own}, ${source.registry}/${ownKey}]}]`;
  return [
    ...pending.map((claim) => `${claim.source.object} of ${claim.source.registry} has the same name and gets no traffic. To make it part of this service: ${rule(claim)}`),
    ...namesakes.map((claim) => `${claim.ownKey}, ${claim.source.object} of ${claim.source.registry}, is another service. To make them one: ${rule(claim)}`),
    ...lostNames.map(({ host, owner }) => `${host} belongs to ${owner}`),
    ...notes.filter((note) => !lostNames.some(({ host }) => note.includes(`the name ${host} `))),
  ];
}

function section<T>(title: string, columns: readonly Column<T>[], rows: readonly T[]): string {
  return rows.length === 0 ? "" : `${title}:\n  ${renderTable(columns, rows).replaceAll("\n", "\n  ")}`;
}

function list(title: string, lines: readonly string[]): string {
  return lines.length === 0 ? "" : `${title}:\n${lines.map((line) => `  - ${foreignText(line)}`).join("\n")}`;
}
