import { type Command } from "commander";
import { refusal } from "../api-client.ts";
import type { CliContext } from "../context.ts";

const DEFAULT_TTL_SECONDS = 3_600;

/** `ironmesh token create`: what lets one host join, once. */
export function addToken(program: Command, context: CliContext): void {
  const token = program.command("token").description("join tokens for hosts");
  token
    .command("create")
    .description("make a one-use join token and the grant of what the host may be")
    .requiredOption("-g, --group <namespace/name...>", "WorkloadGroup that the host may run (repeatable)")
    .option("--ttl <seconds>", "how long the token can be used", String(DEFAULT_TTL_SECONDS))
    .option("--address-range <cidr...>", "range that the host's addresses must lie in (repeatable)")
    .addHelpText("after", "\nExample:\n  ironmesh token create --group default/reviews > /etc/ironmesh/token")
    .action(async (options: { group: string[]; ttl: string; addressRange?: string[] }) => {
      const answer = await context.api().send("POST", "/api/v1/tokens", {
        type: "application/json",
        text: JSON.stringify({
          groups: options.group,
          ttlSeconds: Number(options.ttl),
          ...(options.addressRange === undefined ? {} : { addressRanges: options.addressRange }),
        }),
      });
      if (answer.status !== 200) throw refusal(answer);
      const { token: text, expiresAt } = answer.body as { token: string; expiresAt: string };
      context.print(text);
      context.complain(`can be used once, until ${expiresAt}`);
    });
}
