import { foreignText } from "../base/foreign-text.ts";
import type { ImportFinding } from "../discovery/registry/consul/import/finding.ts";
import type { ImportedResource } from "../discovery/registry/consul/import/resource.ts";
import type { Import, ImportSettings } from "../discovery/registry/consul/import/translate.ts";
import { renderValue } from "./terminal/output.ts";

const LINE_LENGTH = 110;

const EFFECTS: Readonly<Record<ImportFinding["effect"], string>> = {
  lost: "NOT TRANSLATED",
  differs: "DIFFERS",
  todo: "TO DO",
};

/**
 * One stream of YAML documents for people to review: comments say what is taken
 * for granted, where each resource comes from, and before it what of that it
 * does not say. What the mesh would refuse is a comment as a whole.
 *
 * @param origin where the entries were read
 */
export function renderImport({ resources, findings }: Import, settings: ImportSettings, origin: string): string {
  const placed = placeFindings(findings, resources);
  const linesAt = (place: ImportedResource | undefined): string[] => (placed.get(place) ?? []).flatMap(findingLines);
  const homeless = linesAt(undefined);
  const documents = [
    [...headLines(settings, origin), ...(homeless.length === 0 ? [] : ["#", ...homeless])].join("\n"),
    ...resources.map((imported) => [...comment(`From ${imported.from.join(", ") || "what Consul does without an intention"}.`), ...linesAt(imported), body(imported)].join("\n")),
  ];
  return documents.join("\n---\n");
}

/** What came of it, in one line. */
export function summarizeImport({ resources, findings }: Import): string {
  const count = (effect: ImportFinding["effect"]): number => findings.filter((finding) => finding.effect === effect).length;
  const refused = resources.filter(({ refusal }) => refusal !== undefined).length;
  return [
    `${resources.length - refused} resources${refused === 0 ? "" : `, and ${refused} that are only shown, because they would be refused`}`,
    `${count("lost")} things not translated`,
    `${count("differs")} that differ`,
    `${count("todo")} to do besides`,
  ].join("; ");
}

/** By the resource that a finding is about, else by the first that its entry became; undefined: by none. */
function placeFindings(findings: readonly ImportFinding[], resources: readonly ImportedResource[]): ReadonlyMap<ImportedResource | undefined, readonly ImportFinding[]> {
  const byName = new Map(resources.map((one) => [`${one.resource.kind} ${one.resource.metadata.name}`, one] as const));
  const byEntry = new Map<string, ImportedResource>();
  for (const one of resources) if (one.from[0] !== undefined && !byEntry.has(one.from[0])) byEntry.set(one.from[0], one);
  for (const one of resources) for (const entry of one.from) if (!byEntry.has(entry)) byEntry.set(entry, one);
  return Map.groupBy(findings, ({ entry, about }) => (about === undefined ? byEntry.get(entry) : byName.get(`${about.kind} ${about.name}`)));
}

function headLines(settings: ImportSettings, origin: string): string[] {
  const { namespace, meshDomain, trustDomain, serviceLabel, intentionDefault } = settings;
  const standard = intentionDefault === undefined ? "it is not known what Consul does with calls that no intention speaks of" : `Consul ${intentionDefault === "allow" ? "allows" : "denies"} calls that no intention speaks of`;
  return [
    ...comment(`What Consul's config entries say, in Istio's words, to be reviewed: nothing is applied. Read from ${origin}.`),
    ...comment(
      `Taken for granted: a service of Consul is <service>.${namespace}.svc.${meshDomain}; its workloads belong to WorkloadGroups of the namespace ${namespace} ` +
        `that have the label ${serviceLabel}=<service> and the service account <service>, and so are ${trustDomain}/ns/${namespace}/sa/<service>; ${standard}. ` +
        "Consul's proxies end a request after 15 seconds and retry none, unless they are told otherwise, and take mutual TLS only: routes here say the first two, the mesh's mtls setting the third.",
    ),
  ];
}

function findingLines({ effect, entry, path, message, remedy }: ImportFinding): string[] {
  const where = path === "" ? entry : `${entry}, ${path}`;
  return comment(`${EFFECTS[effect]} ${where}: ${message}. ${remedy.slice(0, 1).toUpperCase()}${remedy.slice(1)}${remedy.endsWith("?") ? "" : "."}`);
}

function body({ resource, refusal }: ImportedResource): string {
  const text = renderValue(resource, "yaml");
  return refusal === undefined ? text : text.split("\n").map((line) => `# ${line}`).join("\n");
}

/** Entries may say anything: nothing of them ends a comment. */
function comment(text: string): string[] {
  const lines: string[] = [];
  let line = "#";
  for (const word of foreignText(text).split(" ")) {
    if (line.length + word.length >= LINE_LENGTH && line !== "#" && line !== "#  ") {
      lines.push(line);
      line = "#  ";
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}
