import type { Logger } from "../base/logger.ts";
import type { ApiClient } from "./api-client.ts";

/** What commands are given instead of reaching for globals. */
export interface CliContext {
  /** The client of the control plane that `--api` names. */
  api(): ApiClient;
  /** Standard output, one line end added. */
  print(text: string): void;
  /** Standard error, one line end added. */
  complain(text: string): void;
  /** All of standard input. */
  readInput(): Promise<string>;
  /** What the process will exit with, unless it throws. */
  setExitCode(code: number): void;
  /** A logger of JSON lines on standard error. */
  logger(level: string): Logger;
}
