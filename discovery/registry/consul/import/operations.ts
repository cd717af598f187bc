/**
 * Requests, as an operation of an AuthorizationPolicy describes them: a path is
 * exact, or a prefix that ends with `*`. An empty list asks for nothing.
 */
export interface Operation {
  readonly paths: readonly string[];
  readonly notPaths: readonly string[];
  readonly methods: readonly string[];
  readonly notMethods: readonly string[];
}

export const ANY_OPERATION: Operation = { paths: [], notPaths: [], methods: [], notMethods: [] };

/** More are not written: nobody could read them. */
export const MAX_OPERATIONS = 64;

export function isAny({ paths, notPaths, methods, notMethods }: Operation): boolean {
  return paths.length + notPaths.length + methods.length + notMethods.length === 0;
}

/** The requests of `from` that `taken` does not describe, as operations of which any may match; undefined where they are too many. */
export function subtractAll(from: readonly Operation[], taken: readonly Operation[]): readonly Operation[] | undefined {
  let left = from;
  for (const one of taken) {
    left = withoutRepeats(left.flatMap((operation) => subtract(operation, one)));
    if (left.length > MAX_OPERATIONS) return undefined;
  }
  return left;
}

/** Without operations that another one says as well: each subtraction would multiply them. */
function withoutRepeats(operations: readonly Operation[]): readonly Operation[] {
  return operations.filter((one, index) => !operations.some((other, at) => at !== index && isWithin(one, other) && (at < index || !isWithin(other, one))));
}

/** True where every request of `special` is surely one of `general`. */
function isWithin(special: Operation, general: Operation): boolean {
  const arePaths = isPartWithin(special.paths, special.notPaths, general.paths, general.notPaths, covers, overlaps);
  return arePaths && isPartWithin(special.methods, special.notMethods, general.methods, general.notMethods, isSame, isSame);
}

function isPartWithin(wanted: readonly string[], unwanted: readonly string[], generalWanted: readonly string[], generalUnwanted: readonly string[], covers: Covers, overlaps: Covers): boolean {
  const isWanted = generalWanted.length === 0 || (wanted.length > 0 && wanted.every((value) => generalWanted.some((general) => covers(general, value))));
  const isNotUnwanted = generalUnwanted.every((refused) => unwanted.some((one) => covers(one, refused)) || (wanted.length > 0 && !wanted.some((value) => overlaps(value, refused))));
  return isWanted && isNotUnwanted;
}

/** Not both: the path is another one, or the method is. */
function subtract(from: Operation, taken: Operation): Operation[] {
  if (areDisjoint(from.paths, taken.paths, overlaps) || areDisjoint(from.methods, taken.methods, isSame)) return [from];
  return [
    ...without(from, "paths", "notPaths", taken.paths, covers),
    ...within(from, "paths", "notPaths", taken.notPaths, narrower, covers),
    ...without(from, "methods", "notMethods", taken.methods, isSame),
    ...within(from, "methods", "notMethods", taken.notMethods, (left, right) => (left === right ? left : undefined), isSame),
  ];
}

type Wanted = "paths" | "methods";
type Unwanted = "notPaths" | "notMethods";
type Covers = (general: string, special: string) => boolean;

/** Operations like `from` whose value is none of `refused`; none where nothing is refused, for then nothing differs by it. */
function without(from: Operation, wanted: Wanted, unwanted: Unwanted, refused: readonly string[], covers: Covers): Operation[] {
  if (refused.length === 0) return [];
  const kept = from[wanted].filter((value) => !refused.some((one) => covers(one, value)));
  if (from[wanted].length > 0 && kept.length === 0) return [];
  // Where the values are listed, it is enough not to list the refused ones, unless a kept one is wider than those.
  const stillRefused = refused.filter((one) => kept.length === 0 || kept.some((value) => covers(value, one)));
  return [{ ...from, [wanted]: kept, [unwanted]: union(from[unwanted], stillRefused) }];
}

/** Operations like `from` whose value is one of `allowed`. */
function within(from: Operation, wanted: Wanted, unwanted: Unwanted, allowed: readonly string[], meet: (left: string, right: string) => string | undefined, covers: Covers): Operation[] {
  if (allowed.length === 0) return [];
  const met = from[wanted].length === 0 ? allowed : from[wanted].flatMap((left) => allowed.flatMap((right) => meet(left, right) ?? []));
  const kept = [...new Set(met)].filter((value) => !from[unwanted].some((refused) => covers(refused, value)));
  return kept.length === 0 ? [] : [{ ...from, [wanted]: kept }];
}

function areDisjoint(left: readonly string[], right: readonly string[], meets: (left: string, right: string) => boolean): boolean {
  return left.length > 0 && right.length > 0 && !left.some((one) => right.some((other) => meets(one, other)));
}

function isSame(left: string, right: string): boolean {
  return left === right;
}

/** True where every path of `special` is one of `general`. */
function covers(general: string, special: string): boolean {
  return general.endsWith("*") ? special.startsWith(general.slice(0, -1)) : general === special;
}

function overlaps(left: string, right: string): boolean {
  return covers(left, right) || covers(right, left);
}

/** The paths of both: that of the two which the other one covers. */
function narrower(left: string, right: string): string | undefined {
  if (covers(left, right)) return right;
  return covers(right, left) ? left : undefined;
}

function union(left: readonly string[], right: readonly string[]): readonly string[] {
  return [...new Set([...left, ...right])];
}

/** As an AuthorizationPolicy has it. */
export function writeOperation(operation: Operation): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(Object.entries(operation).filter(([, values]) => values.length > 0));
}
