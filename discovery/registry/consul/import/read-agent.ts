import { CodedError } from "../../../../base/coded-error.ts";
import type { SecretBytes } from "../../../../base/secret-bytes.ts";
import type { ConsulClient } from "../client.ts";
import { TRANSLATED_KINDS } from "./entry.ts";
import type { ImportFinding } from "./finding.ts";
import { type EntrySource, NAMED_KINDS } from "./read-entries.ts";

/** All config entries of a datacenter that the token may read. */
export interface AgentEntries {
  readonly sources: readonly EntrySource[];
  /** What Consul does about rights that nobody gave, and so about calls, unless the agent is told otherwise; undefined where no answer says it. */
  readonly defaultPolicy: "allow" | "deny" | undefined;
  readonly findings: readonly ImportFinding[];
}

export interface AgentQuestion {
  readonly client: ConsulClient;
  readonly datacenter: string | undefined;
  readonly token: SecretBytes | undefined;
  readonly signal: AbortSignal;
}

const RIGHTS = "the token needs `service_prefix \"\" { policy = \"read\" }`, and `mesh = \"read\"` for the kinds that are only named";

/**
 * Asks an agent for all config entries. Rejects with a CodedError
 * `MESH_REGISTRY_…`, also where the token may not read all entries of a kind
 * that is translated: a part of the intentions would let in whom the whole refuses.
 */
export async function readAgentEntries(question: AgentQuestion): Promise<AgentEntries> {
  const { client, ...asked } = question;
  const sources: EntrySource[] = [];
  const findings: ImportFinding[] = [];
  let defaultPolicy: AgentEntries["defaultPolicy"];
  const translated: readonly string[] = Object.keys(TRANSLATED_KINDS);
  for (const kind of [...translated, ...Object.keys(NAMED_KINDS)]) {
    const answer = await client.configEntries(kind, { ...asked, index: 0n, waitMs: 0, mode: "consistent" });
    // An older Consul does not know every kind.
    if (answer === undefined) continue;
    if (answer.defaultPolicy === "deny") defaultPolicy = "deny";
    else if (answer.defaultPolicy === "allow") defaultPolicy ??= "allow";
    const isAnonymous = question.token === undefined && answer.defaultPolicy === "deny";
    if (translated.includes(kind) && (answer.isFiltered || isAnonymous)) {
      throw new CodedError("MESH_REGISTRY_DENIED", isAnonymous ? "consul denies by default and no token is given: what it leaves out is not known" : `the token may not read every ${kind}`, { hint: RIGHTS, facts: { kind } });
    }
    if (answer.isFiltered) findings.push({ effect: "todo", entry: kind, path: "", message: "the token may not read every entry of this kind, which would only be named", remedy: "give the token mesh = \"read\" to see them" });
    sources.push({ origin: `/v1/config/${kind}`, value: answer.body });
  }
  return { sources, defaultPolicy, findings };
}
