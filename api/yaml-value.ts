import { isAlias, isMap, isScalar, isSeq, LineCounter, parseAllDocuments, type Document, type Pair, type ParsedNode, visit, type YAMLMap } from "yaml";
import type { FieldPath, Problem } from "./finding.ts";

/** What a file may ask of the parser. */
export const yamlLimits = {
  /** Characters of a file. */
  length: 8 * 1_048_576,
  /** Mappings, lists and scalars of a file, aliases written out. */
  nodes: 300_000,
  depth: 64,
} as const;

/** A place in the text; both count from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** One YAML document as plain values, with the place of everything in it. */
export interface YamlDocument {
  /** Undefined where the document has problems. */
  readonly value: unknown;
  /** Only blanks and comments. */
  readonly isEmpty: boolean;
  readonly start: Place;
  readonly problems: readonly (Problem & { readonly place: Place })[];
  /** The place of a field's value (or name); of its nearest ancestor where it is not there. */
  placeOf(path: FieldPath, atKey?: boolean): Place;
}

interface Places {
  readonly self: Place;
  readonly keys: Map<string, Place>;
  readonly values: Map<string, Place>;
}

/** Reads all documents of a text. It never throws, whatever the text is. */
export function parseYaml(text: string): YamlDocument[] {
  const first: Place = { line: 1, column: 1 };
  if (text.length > yamlLimits.length) {
    return [broken(first, { code: "IM0102", message: `the text is longer than ${yamlLimits.length} characters`, place: first })];
  }
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(Math.min(offset, text.length));
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const budget = { nodes: yamlLimits.nodes };
  try {
    // Unique keys are checked below: the library's check is quadratic.
    const parsed = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false, merge: true, version: "1.2", logLevel: "silent" });
    return Array.isArray(parsed) ? parsed.map((document) => readDocument(document, placeAt, budget)) : [];
  } catch (failure) {
    // The library recurses: this is the end of the stack.
    if (!(failure instanceof RangeError)) throw failure;
    return [broken(first, { code: "IM0102", message: "the text is nested too deeply", place: first })];
  }
}

function broken(start: Place, ...problems: (Problem & { readonly place: Place })[]): YamlDocument {
  return { value: undefined, isEmpty: false, start, problems, placeOf: () => start };
}

class YamlFault extends Error {
  readonly problem: Problem;
  readonly offset: number;

  constructor(problem: Problem, offset: number) {
    super(problem.message);
    this.problem = problem;
    this.offset = offset;
  }
}

/** @param budget what is left for the whole file */
function readDocument(document: Document.Parsed, placeAt: (offset: number) => Place, budget: { nodes: number }): YamlDocument {
  const { contents } = document;
  const start = placeAt(contents?.range[0] ?? document.range[0]);
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    return broken(start, ...faults.map(({ message, pos }) => ({ code: "IM0101" as const, message: lowerFirst(message), place: placeAt(pos[0]) })));
  }
  if (contents === null || (isScalar(contents) && contents.value === null)) {
    return { value: undefined, isEmpty: true, start, problems: [], placeOf: () => start };
  }
  const places = new WeakMap<object, Places>();
  try {
    const value = readNode(contents, { targets: aliasTargets(document), places, placeAt, budget }, 0);
    return { value, isEmpty: false, start, problems: [], placeOf: (path, atKey = false) => findPlace(value, places, start, path, atKey) };
  } catch (failure) {
    if (failure instanceof YamlFault) return broken(start, { ...failure.problem, place: placeAt(failure.offset) });
    throw failure;
  }
}

function lowerFirst(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}

function findPlace(root: unknown, places: WeakMap<object, Places>, start: Place, path: FieldPath, atKey: boolean): Place {
  let value = root;
  let place = start;
  for (const [index, part] of path.entries()) {
    const known = typeof value === "object" && value !== null ? places.get(value) : undefined;
    const name = String(part);
    const isLast = index === path.length - 1;
    const found = isLast && atKey ? known?.keys.get(name) : known?.values.get(name);
    if (known === undefined || found === undefined) return place;
    place = found;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return place;
}

interface Reading {
  readonly targets: ReadonlyMap<unknown, ParsedNode>;
  readonly places: WeakMap<object, Places>;
  readonly placeAt: (offset: number) => Place;
  readonly budget: { nodes: number };
}

/** What each alias stands for: the last anchor of its name before it. (The library searches the document for each.) */
function aliasTargets(document: Document.Parsed): Map<unknown, ParsedNode> {
  const anchors = new Map<string, ParsedNode>();
  const targets = new Map<unknown, ParsedNode>();
  visit(document, {
    Node(_, node) {
      if (isAlias(node)) {
        const target = anchors.get(node.source);
        if (target !== undefined) targets.set(node, target);
      } else if (node.anchor !== undefined) anchors.set(node.anchor, node as ParsedNode);
    },
  });
  return targets;
}

/** Writes aliases out, each a copy of its own, within a budget: this is what ends a billion laughs. */
function readNode(node: ParsedNode | null, reading: Reading, depth: number): unknown {
  const offset = node?.range[0] ?? 0;
  reading.budget.nodes -= 1;
  if (reading.budget.nodes < 0) throw new YamlFault({ code: "IM0102", message: `the file has more than ${yamlLimits.nodes} values`, remedy: "split it, or write it without aliases" }, offset);
  if (depth > yamlLimits.depth) throw new YamlFault({ code: "IM0102", message: `the document is nested more than ${yamlLimits.depth} deep` }, offset);
  if (isAlias(node)) {
    const target = reading.targets.get(node);
    if (target === undefined) throw new YamlFault({ code: "IM0101", message: `no anchor ${node.source}` }, offset);
    return readNode(target, reading, depth + 1);
  }
  if (isSeq<ParsedNode>(node)) {
    const list: unknown[] = [];
    const values = new Map<string, Place>();
    reading.places.set(list, { self: reading.placeAt(offset), keys: values, values });
    node.items.forEach((item, index) => {
      values.set(String(index), reading.placeAt(item.range[0]));
      list.push(readNode(item, reading, depth + 1));
    });
    return list;
  }
  if (isMap<ParsedNode, ParsedNode | null>(node)) return readMap(node, reading, depth);
  if (!isScalar(node)) return null;
  if (typeof node.value === "number" && !Number.isFinite(node.value)) throw new YamlFault({ code: "IM0101", message: `${node.source} is no number that can be used` }, offset);
  return node.value;
}

function readMap(node: YAMLMap<ParsedNode, ParsedNode | null>, reading: Reading, depth: number): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  const places: Places = { self: reading.placeAt(node.range?.[0] ?? 0), keys: new Map(), values: new Map() };
  reading.places.set(result, places);
  const merges: Pair<ParsedNode, ParsedNode | null>[] = [];
  for (const pair of node.items) {
    const { key } = pair;
    if (!isScalar(key)) throw new YamlFault({ code: "IM0101", message: "a key must be plain text" }, key.range[0]);
    if (key.type === "PLAIN" && key.source === "<<") {
      merges.push(pair);
      continue;
    }
    // A symbol is how the library reads a merge key that is quoted or tagged.
    const name = typeof key.value === "symbol" ? (key.source ?? "") : keyText(key.value);
    if (name === "__proto__") throw new YamlFault({ code: "IM0101", message: "__proto__ cannot be a key" }, key.range[0]);
    if (Object.hasOwn(result, name)) throw new YamlFault({ code: "IM0103", message: `the key ${name} is there twice`, remedy: "keep one of them" }, key.range[0]);
    places.keys.set(name, reading.placeAt(key.range[0]));
    places.values.set(name, reading.placeAt(pair.value?.range[0] ?? key.range[0]));
    result[name] = readNode(pair.value, reading, depth + 1);
  }
  for (const { key, value } of merges) mergeInto(result, places, readNode(value, reading, depth + 1), key.range[0], reading);
  return result;
}

function keyText(value: unknown): string {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? String(value) : "";
}

/** What a merge key brings yields to what is written, and the first of several to none behind it. */
function mergeInto(result: Record<string, unknown>, places: Places, merged: unknown, offset: number, reading: Reading): void {
  for (const source of Array.isArray(merged) ? (merged as unknown[]) : [merged]) {
    if (typeof source !== "object" || source === null || Array.isArray(source)) {
      throw new YamlFault({ code: "IM0101", message: "a merge key takes a mapping or a list of mappings" }, offset);
    }
    const known = reading.places.get(source);
    for (const [name, value] of Object.entries(source)) {
      if (Object.hasOwn(result, name)) continue;
      result[name] = value;
      places.keys.set(name, known?.keys.get(name) ?? places.self);
      places.values.set(name, known?.values.get(name) ?? places.self);
    }
  }
}
