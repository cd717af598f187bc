import { type Command } from "commander";
import { formatIssue } from "../../base/issue.ts";
import type { ApplyOutcome } from "../../discovery/http/api.ts";
import { refusal } from "../api-client.ts";
import type { CliContext } from "../context.ts";
import { readSources } from "../yaml-sources.ts";

/** `ironmesh apply -f`: all documents of a file, or none where one is not acceptable. */
export function addApply(program: Command, context: CliContext): void {
  program
    .command("apply")
    .description("store resources: all documents of each file, or none where one is not acceptable")
    .requiredOption("-f, --filename <path...>", "YAML file, directory, or - for standard input")
    .addHelpText("after", "\nExamples:\n  ironmesh apply -f reviews.yaml\n  cat policy.yaml | ironmesh apply -f -")
    .action(async (options: { filename: string[] }) => {
      let refused = false;
      for (const source of await readSources(options.filename, context)) {
        const answer = await context.api().send("PUT", `/api/v1/config?file=${encodeURIComponent(source.file)}`, {
          type: "application/yaml",
          text: source.text,
        });
        if (answer.status !== 200 && answer.status !== 422) throw refusal(answer);
        const outcome = answer.body as ApplyOutcome;
        for (const issue of outcome.issues) context.complain(formatIssue(issue));
        if (!outcome.stored) {
          refused = true;
          context.complain(`${source.file}: nothing stored`);
          continue;
        }
        for (const { kind, namespace, name } of outcome.resources) context.print(`${kind} ${namespace}/${name} applied`);
      }
      if (refused) context.setExitCode(1);
    });
}

/** `ironmesh delete KIND NAME`, or `-f` with the files that were applied. */
export function addDelete(program: Command, context: CliContext): void {
  program
    .command("delete")
    .description("delete an applied resource")
    .argument("<kind>", "such as VirtualService")
    .argument("<name>", "NAME, or NAMESPACE/NAME")
    .option("-n, --namespace <namespace>", "its namespace", "default")
    .addHelpText("after", "\nExample:\n  ironmesh delete VirtualService default/reviews")
    .action(async (kind: string, name: string, options: { namespace: string }) => {
      const [namespace, bare] = name.includes("/") ? name.split("/", 2) : [options.namespace, name];
      const path = ["/api/v1/config", kind, namespace ?? "", bare ?? ""].map((part, index) => (index === 0 ? part : encodeURIComponent(part)));
      const answer = await context.api().send("DELETE", path.join("/"));
      if (answer.status !== 200) throw refusal(answer);
      context.print(`${kind} ${namespace}/${bare} deleted`);
    });
}
