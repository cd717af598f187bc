import { issueCodes } from "./issue-codes.ts";
import { type KindDefinition, kinds, unsupportedKinds } from "./kinds.ts";
import type { Field, Schema } from "./schema.ts";

/** Which kinds and fields there are, as Markdown: docs/reference/kinds.md. */
export function renderKindsReference(): string {
  const known = Object.entries(unsupportedKinds).map(([group, names]) => `- \`${group}\`: ${names.join(", ")}`);
  return [
    "# Kinds and fields",
    "",
    "<!-- Rendered from the schemas in api/; `npm run golden` writes it again. -->",
    "",
    "Resources are written as Istio's documentation describes them. Anything that is written and not listed here is an",
    "error with file, line and column. **error**: Istio's field, not yet supported; the resource is rejected, because ignoring",
    "the field would change who gets traffic or who is let in. **ignored**: it only tunes; the resource is in force without it,",
    "with a warning.",
    "",
    ...kinds.flatMap(renderKind),
    "## Not yet supported",
    "",
    "Known kinds of Istio's; a document of one is an error and changes nothing:",
    "",
    ...known,
    "",
    "Kubernetes' other resources (Deployment, Namespace, …) are skipped with a warning.",
    "",
  ].join("\n");
}

/** What every issue code means, as Markdown: docs/reference/issues.md. */
export function renderIssuesReference(): string {
  const rows = Object.entries(issueCodes).map(([code, { severity, title, explanation }]) => `| ${code} | ${severity} | ${title} | ${explanation} |`);
  return [
    "# Issues with resources",
    "",
    "<!-- Rendered from api/issue-codes.ts; `npm run golden` writes it again. -->",
    "",
    "An **error** rejects the resource; what it said before stays in force. A **warning** lets it in and is shown.",
    "",
    "| code | severity | | meaning |",
    "|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}

/** Every field of a kind with what is taken for it: `spec.http[].timeout`. */
export function fieldRows(schema: Schema, path: string): { readonly path: string; readonly takes: string; readonly support: Field["support"]; readonly remedy: string }[] {
  switch (schema.type) {
    case "object":
      return Object.entries(schema.fields).flatMap(([name, field]) => {
        const at = `${path}.${name}`;
        if (field.support !== "supported") return [{ path: at, takes: "", support: field.support, remedy: field.remedy ?? "" }];
        const takes = `${typeOf(field.schema)}${field.isRequired ? ", required" : ""}`;
        return [{ path: at, takes, support: field.support, remedy: "" }, ...fieldRows(field.schema, at)];
      });
    case "list":
      return fieldRows(schema.item, `${path}[]`);
    case "map":
      return fieldRows(schema.value, `${path}.*`);
    default:
      return [];
  }
}

function renderKind({ kind, plural, shortNames, group, versions, summary, schema, unsupportedAnnotations }: KindDefinition): string[] {
  const rows = fieldRows(schema, "spec");
  const supported = rows.filter((row) => row.support === "supported");
  const others = rows.filter((row) => row.support !== "supported");
  const annotations = unsupportedAnnotations.map((name) => `| \`metadata.annotations["${name}"]\` | error | |`);
  const apiVersions = versions.map((version) => `\`${group === "" ? version : `${group}/${version}`}\``).join(", ");
  return [
    `## ${kind}`,
    "",
    summary,
    "",
    `apiVersion ${apiVersions}; on the command line \`${plural}\`, ${shortNames.map((name) => `\`${name}\``).join(", ")}.`,
    "",
    "| field | takes |",
    "|---|---|",
    ...supported.map((row) => `| \`${row.path}\` | ${row.takes} |`),
    "",
    ...(others.length + annotations.length === 0
      ? []
      : [
          "| not yet supported | | instead |",
          "|---|---|---|",
          ...others.map((row) => `| \`${row.path}\` | ${row.support === "error" ? "error" : "ignored"} | ${row.remedy} |`),
          ...annotations,
          "",
        ]),
  ];
}

function typeOf(schema: Schema): string {
  switch (schema.type) {
    case "object":
      return "mapping";
    case "list":
      return `list of ${typeOf(schema.item)}`;
    case "map":
      return `mapping to ${typeOf(schema.value)}`;
    case "text":
      return schema.label;
    case "choice": {
      const unsupported = schema.unsupported.length === 0 ? "" : ` (not yet: ${schema.unsupported.join(", ")})`;
      return `${schema.values.join(" \\| ")}${unsupported}`;
    }
    case "number":
      return `${schema.isInteger ? "whole number" : "number"} ${schema.min}–${schema.max}`;
    case "boolean":
      return "true \\| false";
    case "port-reference":
      return "port number or name";
  }
}
