import { Argument, type Command, Option } from "commander";
import { foreignLines, foreignText } from "../../base/foreign-text.ts";
import { type ProxyView, RESOURCE_WORDS, type ResourceWord } from "../../discovery/http/api.ts";
import type { CliContext } from "../context.ts";
import { OUTPUT_FORMATS, type OutputFormat, renderRows, renderValue } from "../terminal/output.ts";
import { renderTable } from "../terminal/table.ts";
import { RESOURCE_COLUMNS } from "./resource-columns.ts";

/** `ironmesh proxy-status`: who has taken what, per type of resource. */
export function addProxyStatus(program: Command, context: CliContext): void {
  program
    .command("proxy-status")
    .alias("ps")
    .description("whether every proxy took what it was sent, per type")
    .addOption(outputOption())
    .action(async (options: { output: OutputFormat }) => {
      const proxies = (await context.api().get("/api/v1/proxies")) as ProxyView[];
      if (options.output !== "table") return context.print(renderRows(proxies, [], options.output, ""));
      if (proxies.length === 0) return context.print("no proxies");
      const types = [...new Set(proxies.flatMap((proxy) => proxy.types.map((type) => type.type)))];
      context.print(
        renderTable<ProxyView>(
          [
            ["HOST", (proxy) => proxy.hostName],
            ["ID", (proxy) => proxy.host],
            ["CONNECTED", (proxy) => (proxy.connected ? "yes" : "no")],
            ...types.map((word) => [word.toUpperCase(), (proxy: ProxyView) => stateOf(proxy, word)] as const),
          ],
          proxies,
        ),
      );
      for (const proxy of proxies) {
        for (const { type, error, causes } of proxy.types.filter((entry) => entry.error !== "")) {
          const from = causes.length === 0 ? "" : ` (from ${causes.map(({ resource, position }) => `${resource} at ${position}`).join(", ")})`;
          context.print(`\n${foreignText(`${proxy.hostName} rejected ${type}${from}`)}:\n  ${foreignLines(error).replaceAll("\n", "\n  ")}`);
        }
      }
    });
}

/** `ironmesh proxy-config WHAT HOST`: what the control plane told a host's proxy. */
export function addProxyConfig(program: Command, context: CliContext): void {
  program
    .command("proxy-config")
    .alias("pc")
    .description("the Envoy resources of one host, as the control plane made them")
    .addArgument(new Argument("<what>", "type of resource").choices(RESOURCE_WORDS))
    .argument("<host>", "host id, or a name that one host alone has")
    .addOption(outputOption())
    .addHelpText("after", "\nExample:\n  ironmesh proxy-config clusters vm1")
    .action(async (what: ResourceWord, host: string, options: { output: OutputFormat }) => {
      const path = `/api/v1/proxies/${encodeURIComponent(host)}/${what}`;
      const resources = (await context.api().get(path)) as Record<string, unknown>[];
      if (options.output !== "table") return context.print(renderValue(resources, options.output));
      const rows = resources.flatMap(RESOURCE_COLUMNS[what].rows);
      context.print(rows.length === 0 ? `no ${what}` : renderTable(RESOURCE_COLUMNS[what].columns, rows));
    });
}

function outputOption(): Option {
  return new Option("-o, --output <form>", "how to print").choices(OUTPUT_FORMATS).default("table");
}

function stateOf(proxy: ProxyView, word: string): string {
  const entry = proxy.types.find((type) => type.type === word);
  return entry === undefined ? "" : `${entry.state} (${entry.resources})`;
}
