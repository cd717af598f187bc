/** The parts of JSON Schema (2020-12) that our configuration schemas come out as. */
export interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: string | number | boolean | object;
  readonly const?: string;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: JsonSchema | boolean;
  readonly items?: JsonSchema | boolean;
  readonly prefixItems?: readonly JsonSchema[];
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
}

/** One field of a configuration file, as its reference page shows it. */
interface FieldRow {
  readonly path: string;
  readonly takes: string;
  readonly default: string;
  readonly meaning: string;
}

/** The reference page of a configuration file, as Markdown. */
export function renderConfigReference(title: string, intro: readonly string[], schema: JsonSchema): string {
  const rows = fieldRows(schema, "");
  return [
    `# ${title}`,
    "",
    "<!-- Rendered from the schema; `npm run golden` writes it again. -->",
    "",
    ...intro,
    "",
    "| field | takes | default | |",
    "|---|---|---|---|",
    ...rows.map((row) => `| \`${row.path}\` | ${cell(row.takes)} | ${row.default === "" ? "" : `\`${cell(row.default)}\``} | ${cell(row.meaning)} |`),
    "",
  ].join("\n");
}

function fieldRows(schema: JsonSchema, path: string): FieldRow[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const at = path === "" ? name : `${path}.${name}`;
    const isRequired = schema.required?.includes(name) === true;
    const row = { path: at, takes: `${typeOf(field)}${isRequired ? ", required" : ""}`, default: defaultOf(field), meaning: field.description ?? "" };
    return [row, ...rowsBelow(field, at)];
  });
}

function rowsBelow(field: JsonSchema, path: string): FieldRow[] {
  if (typeof field.items === "object") return [field.items, ...(field.items.oneOf ?? [])].flatMap((item) => fieldRows(item, `${path}[]`));
  return fieldRows(field, path);
}

/** Mappings and lists of fields have their defaults in the rows below. */
function defaultOf({ default: value }: JsonSchema): string {
  if (value === undefined || value === "") return "";
  if (typeof value === "object") return Object.keys(value).length === 0 ? "" : JSON.stringify(value);
  return String(value);
}

function typeOf(schema: JsonSchema): string {
  const options = schema.anyOf ?? schema.oneOf;
  if (options !== undefined) return [...new Set(options.map(typeOf))].join(" or ");
  if (schema.const !== undefined) return `\`${schema.const}\``;
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(", ");
  if (schema.prefixItems !== undefined) return `list of ${schema.prefixItems.length}: ${schema.prefixItems.map(typeOf).join(", ")}`;
  switch (schema.type) {
    case "array":
      return `list of ${typeof schema.items === "object" ? typeOf(schema.items) : "anything"}`;
    case "object":
      return typeof schema.additionalProperties === "object" ? `mapping to ${typeOf(schema.additionalProperties)}` : "mapping";
    case "integer":
      return `whole number${rangeOf(schema)}`;
    case "number":
      return `number${rangeOf(schema)}`;
    case "boolean":
      return "`true`, `false`";
    default:
      return "text";
  }
}

function rangeOf({ minimum, maximum }: JsonSchema): string {
  const isBounded = maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER;
  if (minimum === undefined) return isBounded ? ` up to ${maximum}` : "";
  return isBounded ? ` ${minimum}–${maximum}` : ` from ${minimum}`;
}

function cell(text: string): string {
  return text.replaceAll("<", "&lt;").replaceAll("|", String.raw`\|`).replaceAll("\n", " ");
}
