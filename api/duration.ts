const DURATION = /^(\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/;
const PART = /(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g;
const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

/** True for a duration as Istio takes it, Go's form: `1.5s`, `1h30m`, `200ms`. */
export function isDuration(text: string): boolean {
  return DURATION.test(text);
}

/**
 * The milliseconds of a validated duration.
 *
 * @throws RangeError for text that is no duration: validate first
 */
export function durationMs(text: string): number {
  if (!isDuration(text)) throw new RangeError(`not a duration: ${text}`);
  let total = 0;
  for (const [, amount = "", unit = ""] of text.matchAll(PART)) total += Number(amount) * (UNIT_MS[unit] ?? 0);
  return total;
}
