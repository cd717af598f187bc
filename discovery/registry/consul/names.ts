import { isServiceName } from "./service.ts";

/** Which services are asked for, out of all names that Consul lists. */
export interface ChosenNames {
  /** By name in lower case: Consul takes names that differ in case alone for one, and answers each with the instances of all. */
  readonly asked: ReadonlyMap<string, string>;
  /** Names that no service of the mesh can have. */
  readonly skipped: readonly string[];
}

/** True of a service that the mesh leaves alone, in whatever case it is written: Consul would answer for it all the same. */
export function isIgnored(name: string, ignored: readonly string[]): boolean {
  return ignored.some((one) => one.toLowerCase() === name.toLowerCase());
}

/** @param before under which name each service was asked for, which answers as long as there is any; else it is the first by name */
export function chooseNames(all: readonly string[], before: ReadonlyMap<string, string>): ChosenNames {
  const asked = new Map<string, string>();
  for (const name of all.filter(isServiceName).sort()) {
    const label = name.toLowerCase();
    if (!asked.has(label)) asked.set(label, before.get(label) ?? name);
  }
  return { asked, skipped: all.filter((name) => !isServiceName(name)) };
}
