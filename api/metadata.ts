import { isMapping, typeName } from "./check.ts";
import type { Problem, Report } from "./finding.ts";
import type { KindDefinition } from "./kinds.ts";
import { dnsLabelProblem, labelKeyProblem, labelValueProblem, resourceNameProblem } from "./name.ts";
import type { Metadata } from "./resource.ts";
import { nearestName } from "../base/suggestion.ts";

export const DEFAULT_NAMESPACE = "default";

/** What `kubectl get -o yaml` writes besides; it has no meaning here. */
const SERVER_FIELDS: readonly string[] = [
  "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "ownerReferences", "finalizers",
];
const FIELDS: readonly string[] = ["name", "namespace", "labels", "annotations"];

/** The name and namespace that a document claims; undefined where they cannot be read. */
export function readIdentity(metadata: unknown): Pick<Metadata, "name" | "namespace"> | undefined {
  if (!isMapping(metadata)) return undefined;
  const { name, namespace = DEFAULT_NAMESPACE } = metadata;
  if (typeof name !== "string" || typeof namespace !== "string") return undefined;
  if (resourceNameProblem(name) !== undefined || dnsLabelProblem(namespace) !== undefined) return undefined;
  return { name, namespace };
}

/** Reports all that is wrong with `metadata`. */
export function checkMetadata(metadata: unknown, definition: KindDefinition, report: Report): void {
  const path = ["metadata"];
  if (!isMapping(metadata)) {
    const message = metadata === undefined ? "needs metadata with a name" : `metadata must be a mapping, is ${typeName(metadata)}`;
    return report({ code: "IM0109", path: metadata === undefined ? [] : path, message, remedy: "add metadata: {name: …}" });
  }
  for (const field of Object.keys(metadata)) {
    if (FIELDS.includes(field) || SERVER_FIELDS.includes(field)) continue;
    const nearest = nearestName(field, FIELDS);
    const remedy = nearest === undefined ? `known here: ${FIELDS.join(", ")}` : `did you mean ${nearest}?`;
    report({ code: "IM0110", path: [...path, field], atKey: true, message: `unknown field ${field}`, remedy });
  }
  if (metadata["name"] === undefined) report({ code: "IM0109", path, message: "needs a name", remedy: "add name" });
  checkName(metadata, "name", resourceNameProblem, report);
  checkName(metadata, "namespace", dnsLabelProblem, report);
  checkTexts(metadata, "labels", labelValueProblem, report);
  checkTexts(metadata, "annotations", () => undefined, report);
  for (const annotation of definition.unsupportedAnnotations) {
    const written = metadata["annotations"];
    if (!isMapping(written) || !Object.hasOwn(written, annotation)) continue;
    report({ code: "IM0114", path: [...path, "annotations", annotation], atKey: true, message: `the annotation ${annotation} is not yet supported`, remedy: "remove it" });
  }
}

/** @param metadata free of errors */
export function readMetadata(metadata: Readonly<Record<string, unknown>>): Metadata {
  return {
    name: metadata["name"] as string,
    namespace: (metadata["namespace"] as string | undefined) ?? DEFAULT_NAMESPACE,
    labels: (metadata["labels"] as Record<string, string> | undefined) ?? {},
    annotations: (metadata["annotations"] as Record<string, string> | undefined) ?? {},
  };
}

function checkName(metadata: Readonly<Record<string, unknown>>, field: string, check: (text: string) => Problem | undefined, report: Report): void {
  const value = metadata[field];
  if (value === undefined) return;
  if (typeof value !== "string") return report({ code: "IM0111", path: ["metadata", field], message: `must be text, is ${typeName(value)}`, remedy: `quote it` });
  const problem = check(value);
  if (problem !== undefined) report({ ...problem, code: "IM0109", path: ["metadata", field] });
}

function checkTexts(metadata: Readonly<Record<string, unknown>>, field: string, check: (text: string) => Problem | undefined, report: Report): void {
  const value = metadata[field];
  if (value === undefined) return;
  if (!isMapping(value)) return report({ code: "IM0111", path: ["metadata", field], message: `must be a mapping, is ${typeName(value)}` });
  for (const [key, entry] of Object.entries(value)) {
    const path = ["metadata", field, key];
    const keyProblem = labelKeyProblem(key);
    if (keyProblem !== undefined) report({ ...keyProblem, path, atKey: true });
    if (typeof entry !== "string") {
      report({ code: "IM0111", path, message: `must be text, is ${typeName(entry)}`, remedy: `quote it: "${String(entry)}"` });
      continue;
    }
    const problem = check(entry);
    if (problem !== undefined) report({ ...problem, path });
  }
}
