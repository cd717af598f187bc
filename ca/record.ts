import type { z } from "zod";

import type { KeyValueItem } from "../store/key-value.ts";
import { caError } from "./errors.ts";

/** Something that the authority keeps, with the revision that a change of it is compared with. */
export interface Stored<T> {
  readonly record: T;
  readonly revision: number;
}

/** Reads one of the authority's own records from the store; throws `MESH_CA_STATE_DAMAGED`. */
export function readRecord<S extends z.ZodType>(schema: S, item: KeyValueItem): Stored<z.output<S>> {
  try {
    return { record: schema.parse(JSON.parse(item.value)), revision: item.revision };
  } catch (failure) {
    throw caError("MESH_CA_STATE_DAMAGED", `the record ${item.key} is not one of the authority's`, { cause: failure });
  }
}
