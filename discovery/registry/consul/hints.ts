import type { CodedError } from "../../../base/coded-error.ts";
import type { ConsulClient } from "./client.ts";
import type { ConsulCheckPlace } from "./entry.ts";
import { followQuery } from "./watch.ts";
import type { WatchOptions } from "./watch.ts";

/** What all questions to one Consul have in common. */
export type SharedWatchOptions = Pick<WatchOptions<never>, "datacenter" | "token" | "clock" | "pacing" | "pulse" | "activity">;

export interface HintOptions {
  readonly client: ConsulClient;
  readonly shared: SharedWatchOptions;
  readonly waitMs: number;
  /** What a body of so many entries costs Consul sets how often it is asked for. */
  readonly intervalMs: (entries: number) => number;
  /** The health of this service changed. */
  readonly onService: (service: string) => void;
  /** The health of these nodes changed, and with it that of everything on them. */
  readonly onNodeHealth: (nodes: ReadonlySet<string>) => void;
  /** Nodes were registered, changed or removed. */
  readonly onNodes: () => void;
  /** One of the questions fails; undefined: not any more. @param asked in words */
  readonly onFailure: (asked: string, failure: CodedError | undefined) => void;
}

/** Nothing is ever missing from a hint: it says what to look at, and is no content. */
const NO_MEMBERS: readonly string[] = ["hint"];

/**
 * Three questions over the whole cluster that point at what changed, where
 * there are too many services for a question each. A check comes and goes in
 * the lists of those that warn or are critical, whatever else it does.
 */
export async function followHints(options: HintOptions, signal: AbortSignal): Promise<void> {
  const { client, shared, waitMs } = options;
  const never = new AbortController().signal;
  const turn = async (isFirst: boolean) => ({ waitMs: isFirst ? 0 : waitMs, signal: never, release() {} });
  const tell = (asked: string) => (failure: CodedError | undefined): void => {
    if (!signal.aborted) options.onFailure(asked, failure);
  };
  const followState = (state: "warning" | "critical"): Promise<void> => {
    let known: ReadonlyMap<string, ConsulCheckPlace> = new Map();
    return followQuery<readonly ConsulCheckPlace[]>(
      {
        ...shared,
        pacing: { ...shared.pacing, intervalMs: () => options.intervalMs(known.size) },
        turn,
        onFailure: tell(`${state} checks`),
        ask: (query) => client.checks(state, query),
        membersOf: () => NO_MEMBERS,
        onContent(checks) {
          if (checks === undefined) return false;
          const next = new Map(checks.map((check) => [`${check.Node}/${check.CheckID}`, check]));
          point(options, [...known].filter(([key]) => !next.has(key)), [...next].filter(([key]) => !known.has(key)));
          known = next;
          return false;
        },
      },
      signal,
    );
  };
  let hasNodes = false;
  const nodes = followQuery<unknown>(
    {
      ...shared,
      turn,
      onFailure: tell("nodes"),
      ask: (query) => client.nodes(query),
      membersOf: () => NO_MEMBERS,
      onContent: (body) => {
        if (body !== undefined && hasNodes) options.onNodes();
        hasNodes = true;
        return false;
      },
    },
    signal,
  );
  await Promise.all([followState("critical"), followState("warning"), nodes]);
}

function point({ onService, onNodeHealth }: HintOptions, ...changed: readonly (readonly [string, ConsulCheckPlace])[][]): void {
  const checks = changed.flat().map(([, check]) => check);
  for (const service of new Set(checks.map(({ ServiceName: name }) => name))) if (service !== "") onService(service);
  const nodes = new Set(checks.filter(({ ServiceName: name }) => name === "").map(({ Node: node }) => node));
  if (nodes.size > 0) onNodeHealth(nodes);
}
