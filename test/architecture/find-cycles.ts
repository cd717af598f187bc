import { type SourceFile, targetOf } from "./source-file.ts";

/**
 * The groups of files that import each other in a circle, types included, each
 * sorted: the strongly connected components of more than one file (Tarjan).
 */
export function findCycles(files: readonly SourceFile[]): readonly (readonly string[])[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const stack: string[] = [];
  const cycles: string[][] = [];

  const visit = (file: SourceFile): number => {
    const mine = order.size;
    order.set(file.path, mine);
    lowest.set(file.path, mine);
    stack.push(file.path);
    for (const target of targetsOf(file)) {
      const next = byPath.get(target);
      if (next === undefined) continue;
      const reached = order.has(target) ? (stack.includes(target) ? order.get(target) : undefined) : visit(next);
      if (reached !== undefined) lowest.set(file.path, Math.min(lowest.get(file.path) ?? mine, reached));
    }
    const low = lowest.get(file.path) ?? mine;
    if (low === mine) {
      const group = stack.splice(stack.indexOf(file.path));
      if (group.length > 1) cycles.push(group.sort());
    }
    return low;
  };

  for (const file of files) if (!order.has(file.path)) visit(file);
  return cycles;
}

function targetsOf(file: SourceFile): readonly string[] {
  return file.imports.flatMap(({ specifier }) => (specifier?.startsWith(".") === true ? [targetOf(file.path, specifier)] : []));
}
