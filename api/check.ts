import type { FieldPath, Finding, Report } from "./finding.ts";
import { issueCodes } from "./issue-codes.ts";
import { portNameProblem } from "./name.ts";
import type { ChoiceSchema, Field, ListSchema, MapSchema, NumberSchema, ObjectSchema, Schema } from "./schema.ts";
import { nearestName } from "../base/suggestion.ts";

/** Reports all that keeps `value` from being what the schema describes. */
export function checkValue(schema: Schema, value: unknown, path: FieldPath, report: Report): void {
  switch (schema.type) {
    case "object":
      return checkObject(schema, value, path, report);
    case "list":
      return checkList(schema, value, path, report);
    case "map":
      return checkMap(schema, value, path, report);
    case "text":
      if (typeof value !== "string") return wrongType("text", value, path, report);
      return reportAt(path, report, schema.check(value));
    case "choice":
      return checkChoice(schema, value, path, report);
    case "number":
      return checkNumber(schema, value, path, report);
    case "boolean":
      if (typeof value !== "boolean") wrongType("true or false", value, path, report);
      return undefined;
    case "port-reference":
      if (typeof value === "number") return checkNumber({ type: "number", isInteger: true, min: 1, max: 65_535 }, value, path, report);
      if (typeof value !== "string") return wrongType("a port number or name", value, path, report);
      return reportAt(path, report, portNameProblem(value));
  }
}

/** What a user would call the type of a value. */
export function typeName(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  if (typeof value === "string") return "text";
  return typeof value === "boolean" ? "true or false" : "a number";
}

export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function reportAt(path: FieldPath, report: Report, problem: Omit<Finding, "path"> | undefined): void {
  if (problem !== undefined) report({ ...problem, path });
}

function wrongType(wanted: string, value: unknown, path: FieldPath, report: Report): void {
  const isQuotable = wanted === "text" && (typeof value === "number" || typeof value === "boolean");
  const remedy = value === null ? "give it a value, or remove the field" : isQuotable ? `quote it: "${String(value)}"` : undefined;
  report({
    code: "IM0111",
    path,
    message: `must be ${wanted}, is ${typeName(value)}`,
    ...(remedy === undefined ? {} : { remedy }),
  });
}

function checkObject(schema: ObjectSchema, value: unknown, path: FieldPath, report: Report): void {
  if (!isMapping(value)) return wrongType("a mapping", value, path, report);
  let isSound = true;
  const watch: Report = (finding) => {
    isSound &&= (finding.severity ?? issueCodes[finding.code].severity) !== "error";
    report(finding);
  };
  for (const [name, child] of Object.entries(value)) {
    const field = Object.hasOwn(schema.fields, name) ? schema.fields[name] : undefined;
    if (field === undefined) watch(unknownField(schema, name, [...path, name]));
    else checkField(field, child, [...path, name], watch);
  }
  for (const [name, field] of Object.entries(schema.fields)) {
    if (field.support === "supported" && field.isRequired && !Object.hasOwn(value, name)) {
      watch({ code: "IM0112", path, message: `needs the field ${name}`, remedy: `add ${name}` });
    }
  }
  if (isSound) for (const rule of schema.rules) rule(value, path, report);
}

function unknownField(schema: ObjectSchema, name: string, path: FieldPath): Finding {
  const names = Object.keys(schema.fields);
  const nearest = nearestName(name, names);
  const remedy = nearest === undefined ? `known here: ${names.join(", ")}` : `did you mean ${nearest}?`;
  return { code: "IM0110", path, atKey: true, message: `unknown field ${name}`, remedy };
}

function checkField(field: Field, value: unknown, path: FieldPath, report: Report): void {
  if (field.support === "supported") return checkValue(field.schema, value, path, report);
  const remedy = field.remedy;
  report({
    code: field.support === "error" ? "IM0114" : "IM0115",
    path,
    atKey: true,
    message: field.support === "error" ? "not yet supported" : "not yet supported, ignored",
    ...(remedy === undefined ? {} : { remedy }),
  });
}

function checkList(schema: ListSchema, value: unknown, path: FieldPath, report: Report): void {
  if (!Array.isArray(value)) return wrongType("a list", value, path, report);
  if (value.length < schema.minItems) {
    report({ code: "IM0112", path, message: "the list is empty", remedy: "add an entry, or remove the field" });
  }
  value.forEach((item, index) => checkValue(schema.item, item, [...path, index], report));
}

function checkMap(schema: MapSchema, value: unknown, path: FieldPath, report: Report): void {
  if (!isMapping(value)) return wrongType("a mapping", value, path, report);
  for (const [key, child] of Object.entries(value)) {
    const problem = schema.key(key);
    if (problem !== undefined) report({ ...problem, path: [...path, key], atKey: true });
    checkValue(schema.value, child, [...path, key], report);
  }
}

function checkChoice(schema: ChoiceSchema, value: unknown, path: FieldPath, report: Report): void {
  if (typeof value !== "string") return wrongType("text", value, path, report);
  if (schema.values.includes(value)) return;
  if (schema.unsupported.includes(value)) {
    return report({ code: "IM0116", path, message: `${value} is not yet supported`, remedy: `use ${schema.values.join(" or ")}` });
  }
  const nearest = nearestName(value, schema.values);
  const remedy = nearest === undefined ? `use ${schema.values.join(", ")}` : `did you mean ${nearest}?`;
  report({ code: "IM0113", path, message: `unknown value ${JSON.stringify(value)}`, remedy });
}

function checkNumber(schema: NumberSchema, value: unknown, path: FieldPath, report: Report): void {
  if (typeof value !== "number" || Number.isNaN(value)) return wrongType(schema.isInteger ? "a whole number" : "a number", value, path, report);
  if (schema.isInteger && !Number.isInteger(value)) {
    return report({ code: "IM0111", path, message: `must be a whole number, is ${value}` });
  }
  if (value < schema.min || value > schema.max) {
    report({ code: "IM0121", path, message: `${value} is not between ${schema.min} and ${schema.max}` });
  }
}
