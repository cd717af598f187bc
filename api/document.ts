import type { Issue, SourcePosition } from "../base/issue.ts";
import { checkValue, isMapping, typeName } from "./check.ts";
import { type FieldPath, type Finding, formatFieldPath, type Report } from "./finding.ts";
import { issueCodes } from "./issue-codes.ts";
import { structuralErrors } from "./istio-schema.ts";
import { kinds, type KindDefinition, unsupportedKinds } from "./kinds.ts";
import { checkMetadata, readIdentity, readMetadata } from "./metadata.ts";
import { type AnyResource, resourceKey, type ResourceKey } from "./resource.ts";
import { nearestName } from "../base/suggestion.ts";
import { parseYaml, type Place, type YamlDocument } from "./yaml-value.ts";

/** One document of a file, or one item of a `kind: List`, and what became of it. */
export interface ParsedDocument {
  readonly position: SourcePosition;
  /** Which resource it speaks of, where that much could be read; a rejected one has it too. */
  readonly key?: ResourceKey;
  /** Present where no issue is an error. */
  readonly resource?: AnyResource;
  /** True for a document that may be a resource of the mesh, but which one cannot be known. */
  readonly isUnidentified: boolean;
  readonly issues: readonly Issue[];
}

export interface ParsedDocuments {
  /** The acceptable ones, in their order. */
  readonly resources: readonly AnyResource[];
  /** Of all documents. */
  readonly issues: readonly Issue[];
  readonly documents: readonly ParsedDocument[];
}

/**
 * Reads what a user wrote: any number of YAML documents. Pure, total, and
 * nothing in the text is silently ignored.
 *
 * @param file the name to show, not opened
 * @param origin the configuration source: `files`, `store`, `kubernetes`
 */
export function parseDocuments(text: string, file: string, origin: string): ParsedDocuments {
  const documents = parseYaml(text).flatMap((document) => readDocument(document, file, origin));
  return {
    documents,
    resources: documents.flatMap(({ resource }) => (resource === undefined ? [] : [resource])),
    issues: documents.flatMap(({ issues }) => issues),
  };
}

/**
 * Judges one document that is plain data already, as the state store keeps it.
 *
 * @param position given to the resource and all of its issues
 */
export function parseDocumentValue(value: unknown, position: SourcePosition, origin: string): ParsedDocument {
  return readResource(value, [], { origin, position, placeOf: () => position });
}

function readDocument(document: YamlDocument, file: string, origin: string): ParsedDocument[] {
  const positionOf = (place: Place): SourcePosition => ({ file, line: place.line, column: place.column });
  const position = positionOf(document.start);
  if (document.isEmpty) return [];
  if (document.problems.length > 0) {
    const issues = document.problems.map(({ place, ...problem }): Issue => ({ severity: issueCodes[problem.code].severity, path: "", position: positionOf(place), ...problem }));
    return [{ position, isUnidentified: true, issues }];
  }
  const context = (start: FieldPath): Context => ({
    origin,
    position: start.length === 0 ? position : positionOf(document.placeOf(start)),
    placeOf: (path, atKey) => positionOf(document.placeOf(path, atKey)),
  });
  const { value } = document;
  if (isMapping(value) && value["kind"] === "List" && Array.isArray(value["items"])) {
    return value["items"].map((item, index) => readResource(item, ["items", index], context(["items", index])));
  }
  return [readResource(value, [], context([]))];
}

interface Context {
  readonly origin: string;
  readonly position: SourcePosition;
  readonly placeOf: (path: FieldPath, atKey?: boolean) => SourcePosition;
}

/** @param base where the resource stands in its document */
function readResource(value: unknown, base: FieldPath, context: Context): ParsedDocument {
  const findings: Finding[] = [];
  const report: Report = (finding) => findings.push(finding);
  const finish = (rest: Pick<ParsedDocument, "key" | "resource" | "isUnidentified">): ParsedDocument => ({
    position: context.position,
    ...rest,
    issues: findings.map((finding) => toIssue(finding, base, context)),
  });
  if (!isMapping(value)) {
    report({ code: "IM0104", path: [], message: `a resource is a mapping, not ${typeName(value)}`, remedy: "write apiVersion, kind, metadata and spec" });
    return finish({ isUnidentified: true });
  }
  const definition = readKind(value, report);
  if (definition === undefined) return finish({ isUnidentified: findings.some(({ code }) => code !== "IM0106" && code !== "IM0108") });
  const identity = readIdentity(value["metadata"]);
  const key = identity === undefined ? undefined : resourceKey({ kind: definition.kind, metadata: identity });
  checkMetadata(value["metadata"], definition, report);
  checkTopLevel(value, report);
  checkSpec(value, definition, report);
  const isRejected = findings.some((finding) => severityOf(finding) === "error");
  if (isRejected || key === undefined) return finish({ isUnidentified: key === undefined, ...(key === undefined ? {} : { key }) });
  // What the checks above have proven is what these types say.
  const resource = {
    apiVersion: value["apiVersion"],
    kind: definition.kind,
    metadata: readMetadata(value["metadata"] as Record<string, unknown>),
    spec: value["spec"] ?? {},
    position: context.position,
    origin: context.origin,
  } as AnyResource;
  return finish({ key, resource, isUnidentified: false });
}

function severityOf(finding: Finding): Issue["severity"] {
  return finding.severity ?? issueCodes[finding.code].severity;
}

function toIssue(finding: Finding, base: FieldPath, context: Context): Issue {
  const { code, path, message, remedy, atKey } = finding;
  return {
    code,
    severity: severityOf(finding),
    message,
    path: formatFieldPath(path),
    ...(remedy === undefined ? {} : { remedy }),
    position: path.length === 0 ? context.position : context.placeOf([...base, ...path], atKey),
  };
}

/** The definition of the document's kind; undefined, and reported, where there is none. */
function readKind(value: Readonly<Record<string, unknown>>, report: Report): KindDefinition | undefined {
  const { apiVersion, kind } = value;
  if (typeof kind !== "string" || typeof apiVersion !== "string") {
    const missing = typeof kind === "string" ? "apiVersion" : "kind";
    const near = nearestName(missing, Object.keys(value));
    const hint = near === undefined || near === missing ? `add ${missing}` : `did you mean ${missing} where ${near} is written?`;
    const message = value[missing] === undefined ? `needs ${missing}` : `${missing} must be text, is ${typeName(value[missing])}`;
    report({ code: "IM0104", path: value[missing] === undefined ? [] : [missing], message, remedy: hint });
    return undefined;
  }
  const slash = apiVersion.lastIndexOf("/");
  const [group, version] = [apiVersion.slice(0, Math.max(slash, 0)), apiVersion.slice(slash + 1)];
  const definition = kinds.find((candidate) => candidate.kind === kind);
  if (definition !== undefined && definition.group === group && definition.versions.includes(version)) return definition;
  if (unsupportedKinds[group]?.includes(kind) === true) {
    report({ code: "IM0106", path: ["kind"], message: `Istio's ${kind} is not yet supported`, remedy: "remove the document" });
    return undefined;
  }
  const isOurGroup = group.endsWith(".istio.io") || (group === "" && kind === "Service");
  if (definition !== undefined && (isOurGroup || definition.group !== "")) {
    const accepted = definition.versions.map((known) => (definition.group === "" ? known : `${definition.group}/${known}`));
    if (isOurGroup) {
      report({ code: "IM0105", path: ["apiVersion"], message: `${kind} has no apiVersion ${apiVersion}`, remedy: `use ${accepted.join(" or ")}` });
      return undefined;
    }
  }
  if (!group.endsWith(".istio.io")) {
    report({ code: "IM0108", path: ["kind"], message: `${apiVersion} ${kind} is not a resource of the mesh, skipped` });
    return undefined;
  }
  const names = [...kinds.map((candidate) => candidate.kind), ...Object.values(unsupportedKinds).flat()];
  const nearest = nearestName(kind, names);
  report({ code: "IM0107", path: ["kind"], message: `unknown kind ${kind}`, remedy: nearest === undefined ? `known: ${names.join(", ")}` : `did you mean ${nearest}?` });
  return undefined;
}

function checkTopLevel(value: Readonly<Record<string, unknown>>, report: Report): void {
  const known = ["apiVersion", "kind", "metadata", "spec", "status"];
  for (const name of Object.keys(value)) {
    if (known.includes(name)) continue;
    const nearest = nearestName(name, known);
    report({ code: "IM0110", path: [name], atKey: true, message: `unknown field ${name}`, remedy: nearest === undefined ? "fields of the kind belong under spec" : `did you mean ${nearest}?` });
  }
}

/** Our closed schema first; Istio's own is asked where ours has found no error. */
function checkSpec(value: Readonly<Record<string, unknown>>, definition: KindDefinition, report: Report): void {
  let isSound = true;
  checkValue(definition.schema, Object.hasOwn(value, "spec") ? value["spec"] : {}, ["spec"], (finding) => {
    isSound &&= severityOf(finding) !== "error";
    report(finding);
  });
  if (!isSound) return;
  for (const { path, message } of structuralErrors(definition.kind, value["spec"] ?? {})) {
    report({ code: "IM0140", path, message });
  }
}
