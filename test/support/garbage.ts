import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Frees all that nobody holds, and tells those who asked to be told. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  // What was looked at through a WeakRef lives until the end of the turn.
  await setImmediate();
  collect();
  await setImmediate();
}
