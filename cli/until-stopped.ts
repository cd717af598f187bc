import type { Logger } from "../base/logger.ts";

/** How a process was asked to end: only itself, or what it stands for too. */
export type StopRequest = "stop" | "leave";

/** Resolves at SIGTERM or SIGINT (`stop`) or SIGUSR2 (`leave`). A second SIGTERM or SIGINT ends the process at once. */
export function untilStopped(logger: Logger): Promise<StopRequest> {
  return new Promise((resolve) => {
    const stop = (request: StopRequest) => (signal: NodeJS.Signals) => {
      logger.info({ signal }, request === "leave" ? "leaving" : "stopping");
      for (const last of ["SIGTERM", "SIGINT"] as const) {
        process.removeAllListeners(last);
        process.once(last, () => process.exit(1));
      }
      resolve(request);
    };
    process.once("SIGTERM", stop("stop"));
    process.once("SIGINT", stop("stop"));
    process.once("SIGUSR2", stop("leave"));
  });
}
