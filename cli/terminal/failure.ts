import { type CodedError, messageOf } from "../../base/coded-error.ts";
import { foreignLines } from "../../base/foreign-text.ts";

/** What an operator can mend, in one line, and under it what to do. It may quote a host or a registry. */
export function renderFailure(failure: CodedError): string {
  const told = failure.cause === undefined ? "" : messageOf(failure.cause).trim();
  const cause = told === "" || failure.message.includes(told) ? "" : `: ${told}`;
  const hint = failure.hint === undefined ? "" : `\n  ${failure.hint}`;
  return foreignLines(`ironmesh: ${failure.code}: ${failure.message}${cause}${hint}`);
}
