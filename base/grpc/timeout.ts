const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Reads a `grpc-timeout` header. @returns milliseconds, rounded up, or undefined where the text is no timeout */
export function parseGrpcTimeout(text: string): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/u.exec(text);
  if (match === null) return undefined;
  return Math.ceil(Number(match[1]) * (UNIT_MS[match[2] ?? ""] ?? 0));
}

/** Writes a `grpc-timeout` header: at most eight digits, in the finest unit that holds it. */
export function formatGrpcTimeout(timeoutMs: number): string {
  const wholeMs = Math.max(0, Math.ceil(timeoutMs));
  if (wholeMs < 1e8) return `${wholeMs}m`;
  const seconds = Math.ceil(wholeMs / 1000);
  return seconds < 1e8 ? `${seconds}S` : `${Math.min(99_999_999, Math.ceil(seconds / 3600))}H`;
}
