import { globSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * The wall clock of processes that a test starts, stepped at will while they
 * run (libfaketime, Debian's package faketime): what an administrator or a
 * broken time server does. Their timers go on, as on a real machine.
 */
export interface FakeClock {
  /** For the environment of the processes. */
  readonly env: Readonly<Record<string, string>>;
  /** Sets it so many hours beside the true one. */
  set(hours: number): void;
}

/** The library; undefined where it is not installed. */
export function fakeClockLibrary(): string | undefined {
  return globSync("/usr/lib/{*/,}faketime/libfaketimeMT.so.1")[0];
}

/** @param folder for the file by which it is set */
export function createFakeClock(library: string, folder: string): FakeClock {
  const file = join(folder, "clock");
  const set = (hours: number): void => writeFileSync(file, `${hours < 0 ? "-" : "+"}${Math.abs(hours)}h\n`);
  set(0);
  return {
    env: { LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: "1", FAKETIME_DONT_FAKE_MONOTONIC: "1", NO_FAKE_STAT: "1" },
    set,
  };
}
