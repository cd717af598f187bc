import { type Command, Option } from "commander";
import { stringify } from "yaml";
import { CodedError } from "../../base/coded-error.ts";
import { formatIssue } from "../../base/issue.ts";
import { readSources } from "../yaml-sources.ts";
import type { CliContext } from "../context.ts";

/** `ironmesh translate`: YAML in, what a proxy would be told out; no control plane needed. */
export function addTranslate(program: Command, context: CliContext): void {
  program
    .command("translate")
    .description("show what a host's proxy would be told, from YAML alone")
    .requiredOption("-f, --filename <path...>", "YAML file, directory, or - for standard input")
    .requiredOption("--proxy <namespace/group...>", "WorkloadGroup that the host runs (repeatable)")
    .addOption(new Option("-o, --output <form>", "the plain form between YAML and Envoy, or Envoy's own").choices(["ir", "envoy"]).default("envoy"))
    .addHelpText("after", "\nExample:\n  ironmesh translate -f mesh/ --proxy default/web")
    .action(async (options: { filename: string[]; proxy: string[]; output: "ir" | "envoy" }) => {
      const [{ meshConfigSchema }, { parseDocuments }, { translateOffline }] = await Promise.all([
        import("../../api/mesh-config.ts"),
        import("../../api/document.ts"),
        import("../offline.ts"),
      ]);
      const parsed = (await readSources(options.filename, context)).map(({ file, text }) => parseDocuments(text, file, "files"));
      for (const issue of parsed.flatMap(({ issues }) => issues)) context.complain(formatIssue(issue));
      const resources = parsed.flatMap((documents) => documents.resources);
      const missing = options.proxy.find((group) => !resources.some(({ kind, metadata }) => kind === "WorkloadGroup" && `${metadata.namespace}/${metadata.name}` === group));
      if (missing !== undefined) {
        throw new CodedError("MESH_GROUP_UNKNOWN", `no WorkloadGroup ${missing} in the files`, { hint: "--proxy takes NAMESPACE/NAME of a WorkloadGroup" });
      }
      const translated = await translateOffline(resources, options.proxy, meshConfigSchema.parse({}));
      context.print(stringify(options.output === "ir" ? translated.ir : translated.resources).trimEnd());
      if (parsed.some(({ issues }) => issues.some(({ severity }) => severity === "error"))) context.setExitCode(1);
    });
}
