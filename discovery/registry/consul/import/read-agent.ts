import { CodedError } from "../../../../base/coded-error.ts";
import { err, ok, type Result } from "../../../../base/result.ts";
import type { SecretBytes } from "../../../../base/secret-bytes.ts";
import type { ConsulClient } from "../client.ts";
import { TRANSLATED_KINDS } from "./entry.ts";
import type { ImportFinding } from "./finding.ts";
import { type EntrySource, NAMED_KINDS } from "./read-entries.ts";

/** All config entries of a datacenter that the token may read. */
export interface AgentEntries {
  readonly sources: readonly EntrySource[];
  /** What Consul's proxies do with calls that no intention speaks of; undefined where no answer says it. */
  readonly defaultPolicy: "allow" | "deny" | undefined;
  /** Why that is not certain. */
  readonly doubt: ImportFinding | undefined;
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
  let aclPolicy: AgentEntries["defaultPolicy"];
  const translated: readonly string[] = Object.keys(TRANSLATED_KINDS);
  for (const kind of [...translated, ...Object.keys(NAMED_KINDS)]) {
    const answer = await client.configEntries(kind, { ...asked, index: 0n, waitMs: 0, mode: "consistent" });
    // An older Consul does not know every kind.
    if (answer === undefined) continue;
    if (answer.defaultPolicy === "deny") aclPolicy = "deny";
    else if (answer.defaultPolicy === "allow") aclPolicy ??= "allow";
    const isAnonymous = question.token === undefined && answer.defaultPolicy === "deny";
    if (translated.includes(kind) && (answer.isFiltered || isAnonymous)) {
      throw new CodedError("MESH_REGISTRY_DENIED", isAnonymous ? "consul denies by default and no token is given: what it leaves out is not known" : `the token may not read every ${kind}`, { hint: RIGHTS, facts: { kind } });
    }
    if (answer.isFiltered) findings.push({ effect: "todo", entry: kind, path: "", message: "the token may not read every entry of this kind, which would only be named", remedy: "give the token mesh = \"read\" to see them" });
    sources.push({ origin: `/v1/config/${kind}`, value: answer.body });
  }
  const told = await askIntentionDefault(question);
  if (told.ok) return { sources, defaultPolicy: told.value, doubt: undefined, findings };
  const doubt: ImportFinding | undefined = aclPolicy === undefined ? undefined : {
    effect: "todo",
    entry: "service-intentions",
    path: "",
    message: `that Consul ${aclPolicy === "deny" ? "denies" : "allows"} calls that no intention speaks of is its ACLs' default policy; default_intention_policy, where it is set, goes before that and could not be read: ${told.error}`,
    remedy: "look it up in the agents' configuration, and give --intention-default if it is set",
  };
  return { sources, defaultPolicy: aclPolicy, doubt, findings };
}

/**
 * Only the agents' own configuration says it for certain, for they tell their
 * proxies by that: Consul's servers answer `/v1/connect/intentions/check` by the
 * ACLs' policy, whatever default_intention_policy is (1.22.5).
 *
 * @returns an error in words, where it cannot be learnt
 */
async function askIntentionDefault({ client, ...asked }: AgentQuestion): Promise<Result<"allow" | "deny", string>> {
  try {
    const { body } = await client.agentSettings({ ...asked, index: 0n, waitMs: 0, mode: "stale" });
    if (body === undefined) return err("the agent does not tell its configuration");
    const { Config: { Datacenter: own }, DebugConfig: { DefaultIntentionPolicy: intentionPolicy, ACLResolverSettings: { ACLDefaultPolicy: aclPolicy } } } = body;
    if (asked.datacenter !== undefined && asked.datacenter !== own) return err(`the agent is one of the datacenter ${own}: ask one of ${asked.datacenter}`);
    return ok(intentionPolicy ?? aclPolicy);
  } catch (failure) {
    if (!(failure instanceof CodedError)) throw failure;
    const { code, message } = failure;
    return err(code === "MESH_REGISTRY_DENIED" ? 'the token needs `agent_prefix "" { policy = "read" }`' : message);
  }
}
