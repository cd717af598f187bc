/** How long everything else stood still. */
export interface EventLoopBlocks {
  /** CPU time of this thread, so that other processes do not show; the longest first. */
  longestMs(count: number): readonly number[];
  /** Looking costs some 40 ms of CPU per second: that is in no figure of rest. */
  stop(): void;
}

/** Looks from now on. */
export function watchEventLoop(): EventLoopBlocks {
  const blocks: number[] = [];
  const cpuMs = (): number => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1_000;
  };
  let lastMs = cpuMs();
  const looking = setInterval(() => {
    const nowMs = cpuMs();
    blocks.push(nowMs - lastMs);
    lastMs = nowMs;
  }, 1).unref();
  return { longestMs: (count) => blocks.toSorted((left, right) => right - left).slice(0, count), stop: () => clearInterval(looking) };
}
