/** Unset, as Consul writes it. */
export function isUnset(value: unknown): boolean {
  if (value === null || value === undefined || value === "" || value === false || value === 0) return true;
  return typeof value === "object" && Object.values(value).every(isUnset);
}
