import type { Clock } from "../../base/clock.ts";
import { GrpcError } from "../../base/grpc/status.ts";
import type { ResourceView } from "../../xds/resource-set.ts";
import { TYPE_URLS } from "../../xds/type-urls.ts";

/** A heartbeat of the agent and some time to build; less than the 10 s of silence that an agent takes for "that was all". */
const PATIENCE_MS = 8_000;

interface FirstReportOptions {
  readonly clock: Clock;
  /** Of the stream that waits. */
  readonly signal: AbortSignal;
}

/**
 * Resolves when a host's own set was built from a report of it. Before that the
 * set is empty, and a stream that opened on it would tell a host that the
 * control plane has forgotten to drop its listeners, with its traffic.
 *
 * @throws GrpcError UNAVAILABLE where no report comes in time: the host keeps what it has and asks again; else what ended the stream
 */
export async function firstReport(own: ResourceView, hostId: string, { clock, signal }: FirstReportOptions): Promise<void> {
  const isBuilt = (): boolean => own.get(TYPE_URLS.hostConfig, hostId) !== undefined;
  if (isBuilt()) return;
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = (): void => reject(signal.reason as Error);
  const onTooLate = (): void => reject(new GrpcError("UNAVAILABLE", `host ${hostId} has not reported yet: there is nothing to tell it`));
  const stopWatching = own.watch(() => {
    if (isBuilt()) resolve();
  });
  const cancel = clock.after(PATIENCE_MS, onTooLate);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await promise;
  } finally {
    stopWatching();
    cancel();
    signal.removeEventListener("abort", onAbort);
  }
}
