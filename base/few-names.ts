/** Of so many each is said what is to be said; of more, which may be thousands, it is said once. */
const FEW = 3;

/** Whom to say the same of, each once and in order: every one of few, or all of many in one. */
export function fewNames(names: readonly string[]): string[] {
  const all = [...new Set(names)].sort();
  return all.length <= FEW ? all : [`${all.slice(0, FEW).join(", ")} and ${all.length - FEW} more`];
}
