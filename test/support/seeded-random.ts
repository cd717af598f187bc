/** Random numbers that a seed gives again. */
export interface SeededRandom {
  /** Names it in a failure, so that the same run can be had again. */
  readonly seed: number;
  /** A whole number from `least` to `most`. */
  between(least: number, most: number): number;
  pick<T>(from: readonly T[]): T | undefined;
}

/** @param seed `IRONMESH_SEED` where that is set, so that a failure can be repeated */
export function seededRandom(seed: number = Number(process.env["IRONMESH_SEED"] ?? Date.now() % 1_000_000)): SeededRandom {
  let state = seed >>> 0;
  // mulberry32: good enough for moments, and a few lines.
  const next = (): number => {
    state = (state + 0x6d_2b_79_f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  return {
    seed,
    between: (least, most) => least + Math.floor(next() * (most - least + 1)),
    pick: (from) => from[Math.floor(next() * from.length)],
  };
}
