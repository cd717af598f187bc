import type { Clock } from "../base/clock.ts";

/** Which refusals were noted a while ago: somebody who keeps calling is news once in that time. */
export interface RecentRefusals {
  /** True, and remembered from now on, where the key is none of the recent ones. */
  isNews(key: string): boolean;
}

/** @param limit how many are remembered; the oldest is forgotten for one more */
export function rememberRefusals(clock: Clock, quietMs: number, limit = 1_024): RecentRefusals {
  const notedAtMs = new Map<string, number>();
  return {
    isNews(key) {
      const before = notedAtMs.get(key);
      const now = clock.elapsed();
      if (before !== undefined && now - before < quietMs) return false;
      notedAtMs.delete(key);
      notedAtMs.set(key, now);
      const [oldest] = notedAtMs.keys();
      if (notedAtMs.size > limit && oldest !== undefined) notedAtMs.delete(oldest);
      return true;
    },
  };
}
