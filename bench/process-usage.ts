import { readFileSync } from "node:fs";

/** What a process has used until now. */
export interface ProcessUsage {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  /** The most that ever was. */
  readonly peakBytes: number;
}

/** Of Linux on every architecture that we run on (sysconf(_SC_CLK_TCK)). */
const TICKS_PER_SECOND = 100;
/** Positions after the command's name in /proc/PID/stat: proc(5) counts them from 3. */
const STAT = { userTicks: 14 - 3, systemTicks: 15 - 3 } as const;

export function usageOf(pid: number): ProcessUsage {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name stands in parentheses and may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return {
    cpuSeconds: (Number(fields[STAT.userTicks]) + Number(fields[STAT.systemTicks])) / TICKS_PER_SECOND,
    residentBytes: kilobytesIn(status, "VmRSS") * 1_024,
    peakBytes: kilobytesIn(status, "VmHWM") * 1_024,
  };
}

function kilobytesIn(status: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]);
}
