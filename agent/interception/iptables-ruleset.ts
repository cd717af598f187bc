/** The part of a host's iptables rules that ours are placed into, read from `iptables-save`. */
export interface IptablesRuleset {
  readonly tables: Readonly<Record<string, IptablesTable>>;
}

export interface IptablesTable {
  /** Every chain's rules in order, as iptables-save writes them after `-A CHAIN `. */
  readonly chains: Readonly<Record<string, readonly string[]>>;
}

/** Reads the output of `iptables-save` or `ip6tables-save`; counters and comments are dropped. */
export function parseIptablesSave(text: string): IptablesRuleset {
  const tables: Record<string, { chains: Record<string, string[]> }> = {};
  let chains: Record<string, string[]> = {};
  for (const line of text.split("\n")) {
    const [, table] = /^\*(\S+)/.exec(line) ?? [];
    const [, chain] = /^:(\S+)/.exec(line) ?? [];
    const [, ruleChain, rule] = /^(?:\[\d+:\d+\] )?-A (\S+) (.*)$/.exec(line) ?? [];
    if (table !== undefined) {
      chains = {};
      tables[table] = { chains };
    } else if (chain !== undefined) {
      chains[chain] ??= [];
    } else if (ruleChain !== undefined && rule !== undefined) {
      (chains[ruleChain] ??= []).push(rule);
    }
  }
  return { tables };
}

/** How often `chain` jumps to `target`. */
export function countJumps(table: IptablesTable | undefined, chain: string, target: string): number {
  return (table?.chains[chain] ?? []).filter((rule) => rule === `-j ${target}`).length;
}

/**
 * Matches every line that `iptables-save -t TABLE` prints of a table that holds
 * nothing: built-in chains that let everything pass. A remark that nft has more
 * to show is not among them. It means the same to JavaScript and to grep -E.
 */
export function unusedTableLine(table: string): RegExp {
  return new RegExp(`^([*]${table}|:[A-Z]+ ACCEPT \\[[0-9]+:[0-9]+]|COMMIT|# (Generated|Completed|Warning).*)?$`);
}
