import { CodedError } from "../../base/coded-error.ts";

/** An enrolled host, under its id and what it calls itself. */
export interface NamedHost {
  readonly hostId: string;
  /** The host's own choice: it proves nothing, and another host may choose the same. */
  readonly name: string;
  readonly isRevoked: boolean;
}

const MAX_LISTED = 16;

/**
 * The id of the host that a person means; undefined where there is none. An id
 * is that host, whatever others call themselves. A name counts only where
 * exactly one host that is not revoked has it: throws
 * `MESH_HOST_AMBIGUOUS` otherwise, because hosts choose their names.
 */
export function findHost(word: string, hosts: readonly NamedHost[]): string | undefined {
  if (hosts.some(({ hostId }) => hostId === word)) return word;
  const named = hosts.filter(({ name, isRevoked }) => name === word && !isRevoked).map(({ hostId }) => hostId);
  if (named.length > 1) {
    const listed = [...named].sort().slice(0, MAX_LISTED);
    const others = named.length > listed.length ? ` and ${named.length - listed.length} more` : "";
    throw new CodedError("MESH_HOST_AMBIGUOUS", `${named.length} hosts call themselves ${word}: ${listed.join(", ")}${others}`, {
      hint: "hosts choose their names: give the id of the one that is meant; `ironmesh get hosts` shows the addresses of each",
    });
  }
  return named[0];
}
