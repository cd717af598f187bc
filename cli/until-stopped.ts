import type { Logger } from "../base/logger.ts";

/** Resolves at SIGTERM or SIGINT. A second one ends the process at once. */
export function untilStopped(logger: Logger): Promise<void> {
  return new Promise((resolve) => {
    const stop = (signal: NodeJS.Signals): void => {
      logger.info({ signal }, "stopping");
      process.once(signal, () => process.exit(1));
      resolve();
    };
    process.once("SIGTERM", stop);
    process.once("SIGINT", stop);
  });
}
