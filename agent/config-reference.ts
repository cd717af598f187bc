import { agentConfigJsonSchema } from "./config.ts";

interface SchemaNode {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly prefixItems?: readonly SchemaNode[];
  readonly additionalProperties?: SchemaNode | false;
}

const HEAD = `# The agent's configuration

\`/etc/ironmesh/agent.yaml\`, YAML 1.2. Unknown fields are rejected with their line, and all problems are reported at once.
A whole file for a host that runs one service:

\`\`\`yaml
controlPlane:
  address: control-plane.example:15012
joinTokenFile: /etc/ironmesh/token
workloads:
  - group: shop/reviews
    bind: { systemdUnit: reviews.service }
\`\`\`

| field | type | default | meaning |
|---|---|---|---|
`;

/** The page docs/reference/agent-config.md, from the schema itself. A test holds the page against it. */
export function renderConfigReference(): string {
  return HEAD + rows(agentConfigJsonSchema(), "").map((row) => `| ${row.map(cell).join(" | ")} |\n`).join("");
}

type Row = readonly [field: string, type: string, preset: string, meaning: string];

function rows(node: SchemaNode, path: string): Row[] {
  return Object.entries(node.properties ?? {}).flatMap(([key, child]): Row[] => {
    const field = path === "" ? key : `${path}.${key}`;
    const isRequired = node.required?.includes(key) === true && child.default === undefined;
    const inner = child.items?.properties === undefined ? rows(child, field) : rows(child.items, `${field}[]`);
    // The default of a group is that of its fields.
    const isGroup = child.properties !== undefined;
    const preset = isRequired ? "required" : isGroup || child.default === undefined || key === "hostName" ? "" : `\`${JSON.stringify(child.default)}\``;
    return [[`\`${field}\``, typeText(child), preset, child.description ?? ""], ...inner];
  });
}

function typeText(node: SchemaNode): string {
  if (node.enum !== undefined) return node.enum.map((value) => `\`${String(value)}\``).join(", ");
  if (node.anyOf !== undefined) return node.anyOf.map(typeText).join(" or ");
  if (node.prefixItems !== undefined) return `[${node.prefixItems.map(typeText).join(", ")}]`;
  if (node.type === "array") return `list of ${typeText(node.items ?? {})}`;
  if (node.type === "object" && node.properties === undefined && node.additionalProperties) return `map of ${typeText(node.additionalProperties)}`;
  return node.type ?? "";
}

function cell(text: string): string {
  return text.replaceAll("|", String.raw`\|`);
}
