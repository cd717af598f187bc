import { type Command } from "commander";
import { refusal } from "../api-client.ts";
import type { CliContext } from "../context.ts";

/** `ironmesh host revoke`: what an administrator does to enrolled hosts. */
export function addHost(program: Command, context: CliContext): void {
  const host = program.command("host").description("enrolled hosts");
  host
    .command("revoke")
    .description("issue nothing to a host any more, and send no traffic to it")
    .argument("<host>", "host id, or a name that one host alone has")
    .action(async (name: string) => {
      const answer = await context.api().send("POST", `/api/v1/hosts/${encodeURIComponent(name)}/revoke`);
      if (answer.status !== 200) throw refusal(answer);
      const { revoked } = answer.body as { revoked: string };
      // Hosts choose their names: what was revoked is told by its id.
      context.print(revoked === name ? `${revoked} revoked` : `${revoked} revoked, which calls itself ${name}`);
    });
}
