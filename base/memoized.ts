/**
 * A pure function that works once for each object that it is given, for as long
 * as that object lives. The object must be data that nobody changes.
 */
export function memoized<Key extends object, Value>(derive: (key: Key) => Value): (key: Key) => Value {
  const known = new WeakMap<Key, { readonly value: Value }>();
  return (key) => {
    let found = known.get(key);
    if (found === undefined) known.set(key, (found = { value: derive(key) }));
    return found.value;
  };
}
