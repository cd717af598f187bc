/** What of a metric its reference page shows. */
export interface DocumentedFamily {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly labels: readonly string[];
}

/** The reference page of the control plane's metrics, as Markdown. */
export function renderMetricsReference(sections: readonly { readonly title: string; readonly families: readonly DocumentedFamily[] }[]): string {
  return [
    "# Metrics of the control plane",
    "",
    "<!-- Rendered from the code; `npm run golden` writes it again. -->",
    "",
    "`http://127.0.0.1:15014/metrics` (`listen.metrics`), in Prometheus' text format, computed at each scrape. Beside these there are those of the process and of Node: `ironmesh_process_…`, `ironmesh_nodejs_…`. Hosts have their own at `127.0.0.1:15020/stats/prometheus`. [Alert rules](../prometheus/alerts.yaml) to start from.",
    "",
    ...sections.flatMap(({ title, families }) => [
      `## ${title}`,
      "",
      "| metric | type | labels | |",
      "|---|---|---|---|",
      ...families.map(({ name, help, type, labels }) => `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(", ")} | ${help.replaceAll("|", String.raw`\|`)} |`),
      "",
    ]),
    "`registry` is the name in the configuration (`static` is YAML, `hosts` the enrolled hosts), `kind` one of `static`, `hosts`, `consul`, `kubernetes`, `health` one of `healthy`, `unhealthy`, `draining`, `unknown`, `code` a code of [errors.md](../errors.md). A registry that follows no source (YAML, hosts) has no watches, wakes, failures and last success.",
    "",
  ].join("\n");
}
