import type { FieldPath, Report } from "./finding.ts";
import type { ObjectRule } from "./schema.ts";

/** At most one of the fields, or exactly one. */
export function exclusive(names: readonly string[], options: { readonly isRequired: boolean }): ObjectRule {
  return (value, path, report) => {
    const written = names.filter((name) => Object.hasOwn(value, name));
    const second = written[1];
    if (second !== undefined) {
      report({ code: "IM0130", path: [...path, second], atKey: true, message: `${written.join(" and ")} exclude each other`, remedy: "keep one of them" });
    }
    if (written.length === 0 && options.isRequired) {
      report({ code: "IM0112", path, message: `needs ${names.length === 1 ? "" : "one of "}${names.join(", ")}` });
    }
  };
}

/** `name` makes sense only beside `other`. */
export function needs(name: string, other: string): ObjectRule {
  return (value, path, report) => {
    if (Object.hasOwn(value, name) && !Object.hasOwn(value, other)) {
      report({ code: "IM0132", path: [...path, name], atKey: true, message: `${name} needs ${other}`, remedy: `add ${other}, or remove ${name}` });
    }
  };
}

/** Entries of a list that must differ in `keyOf`. */
export function uniqueIn(name: string, keyOf: (item: unknown) => unknown, what: string): ObjectRule {
  return (value, path, report) => {
    const seen = new Set<unknown>();
    itemsOf(value[name]).forEach((item, index) => {
      const key = keyOf(item);
      if (typeof key !== "string" && typeof key !== "number") return;
      if (seen.has(key)) report({ code: "IM0133", path: [...path, name, index], message: `${what} ${key} is there twice` });
      seen.add(key);
    });
  };
}

/** The weights of `route`: Istio's rule is that one destination takes all, and several must sum to more than 0. */
export const weights: ObjectRule = (value, path, report) => {
  const destinations = itemsOf(value["route"]);
  if (destinations.length < 2) return;
  const total = destinations.reduce<number>((sum, destination) => sum + Number(fieldOf(destination, "weight") ?? 0), 0);
  if (total === 0) report({ code: "IM0131", path: [...path, "route"], message: "the weights sum to 0", remedy: "give each destination a weight" });
  if (total > 4_294_967_295) report({ code: "IM0131", path: [...path, "route"], message: "the weights sum to more than 4294967295" });
  destinations.forEach((destination, index) => {
    if (total > 0 && !hasField(destination, "weight")) noEffect([...path, "route", index], "without a weight it gets no traffic", report);
  });
};

export function noEffect(path: FieldPath, message: string, report: Report, remedy?: string): void {
  report({ code: "IM0134", path, message, ...(remedy === undefined ? {} : { remedy }) });
}

export function itemsOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}

export function hasField(value: unknown, name: string): boolean {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name);
}
