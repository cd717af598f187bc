import type { FieldPath, Problem, Report } from "./finding.ts";

/**
 * The closed form of what users write, as plain data: whatever it does not name
 * is an error. The same data renders docs/reference/kinds.md.
 */
export type Schema = ObjectSchema | ListSchema | MapSchema | TextSchema | ChoiceSchema | NumberSchema | BooleanSchema | PortReferenceSchema;

export interface ObjectSchema {
  readonly type: "object";
  readonly fields: Readonly<Record<string, Field>>;
  readonly rules: readonly ObjectRule[];
}

/** A check across the fields of one object, called only where each of them alone is well-formed. */
export type ObjectRule = (value: Readonly<Record<string, unknown>>, path: FieldPath, report: Report) => void;

export interface ListSchema {
  readonly type: "list";
  readonly item: Schema;
  readonly minItems: number;
}

export interface MapSchema {
  readonly type: "map";
  readonly key: TextCheck;
  readonly value: Schema;
}

export type TextCheck = (text: string) => Problem | undefined;

export interface TextSchema {
  readonly type: "text";
  /** What the text is, for the documentation: `duration`, `host`. */
  readonly label: string;
  readonly check: TextCheck;
}

export interface ChoiceSchema {
  readonly type: "choice";
  readonly values: readonly string[];
  /** Values of Istio's that are not supported. */
  readonly unsupported: readonly string[];
}

export interface NumberSchema {
  readonly type: "number";
  readonly isInteger: boolean;
  readonly min: number;
  readonly max: number;
}

export interface BooleanSchema {
  readonly type: "boolean";
}

/** A port by its number, or by a name. */
export interface PortReferenceSchema {
  readonly type: "port-reference";
}

export type Field = SupportedField | UnsupportedField;

export interface SupportedField {
  readonly support: "supported";
  readonly schema: Schema;
  readonly isRequired: boolean;
}

/** Istio's, but not ours yet: `error` where ignoring it would change who gets traffic or is let in, else `warning`. */
export interface UnsupportedField {
  readonly support: "error" | "warning";
  /** What to do instead. */
  readonly remedy?: string;
}

/** An object; a bare schema is an optional, supported field. */
export function object(fields: Readonly<Record<string, Schema | Field>>, ...rules: readonly ObjectRule[]): ObjectSchema {
  const asField = (entry: Schema | Field): Field => ("support" in entry ? entry : { support: "supported", schema: entry, isRequired: false });
  return { type: "object", fields: Object.fromEntries(Object.entries(fields).map(([name, entry]) => [name, asField(entry)])), rules };
}

export function required(schema: Schema): SupportedField {
  return { support: "supported", schema, isRequired: true };
}

/** A field whose silence would change who gets traffic or who is let in. */
export function notYet(remedy?: string): UnsupportedField {
  return { support: "error", ...(remedy === undefined ? {} : { remedy }) };
}

/** A field that only tunes. */
export function ignored(remedy?: string): UnsupportedField {
  return { support: "warning", ...(remedy === undefined ? {} : { remedy }) };
}

/** @param minItems 1 unless told: an empty list is nearly always a mistake, and in a policy a dangerous one */
export function list(item: Schema, minItems = 1): ListSchema {
  return { type: "list", item, minItems };
}

export function map(key: TextCheck, value: Schema): MapSchema {
  return { type: "map", key, value };
}

export function text(label: string, check: TextCheck = () => undefined): TextSchema {
  return { type: "text", label, check };
}

export function choice(values: readonly string[], unsupported: readonly string[] = []): ChoiceSchema {
  return { type: "choice", values, unsupported };
}

export function integer(min: number, max: number): NumberSchema {
  return { type: "number", isInteger: true, min, max };
}

export function decimal(min: number, max: number): NumberSchema {
  return { type: "number", isInteger: false, min, max };
}

export const flag: BooleanSchema = { type: "boolean" };
export const portReference: PortReferenceSchema = { type: "port-reference" };
