import { z } from "zod";
import { messageOf } from "../../base/coded-error.ts";
import { kubernetesFailure } from "./failure.ts";
import { mustBeVersion } from "./resource-version.ts";

/** An object as it was seen once. */
export interface Seen<T> {
  /** `NAMESPACE/NAME`, or the name of what has no namespace. */
  readonly key: string;
  readonly version: string;
  /** Undefined where it is not understood. */
  readonly value?: T;
  /** Why it is not. */
  readonly problem?: string;
}

/** The API leaves out or nulls what is empty. */
export const text = z.string().nullish().transform((value) => value ?? "");
const texts = z.record(z.string(), z.string()).nullish().transform((value) => value ?? {});

const metadataSchema = z.object({
  namespace: text,
  name: z.string().min(1),
  uid: text,
  resourceVersion: z.string(),
  labels: texts,
  annotations: texts,
});

const anyObject = z.object({ metadata: metadataSchema });

export type Metadata = z.output<typeof metadataSchema>;

/** Reads an object whose metadata has been read. */
export type Reader<T> = (object: unknown, metadata: Metadata) => Seen<T>;

/** Where a list or an event stands, whatever the object is. Throws `MESH_REGISTRY_MALFORMED`. */
export function readMetadata(object: unknown): Metadata {
  const parsed = anyObject.safeParse(object);
  if (!parsed.success) throw kubernetesFailure("MESH_REGISTRY_MALFORMED", `an object of kubernetes has no usable metadata: ${firstIssue(parsed.error)}`);
  mustBeVersion(parsed.data.metadata.resourceVersion);
  return parsed.data.metadata;
}

/** One object that is not understood does not hold the others back. */
export function reader<T>(read: (metadata: Metadata, object: Readonly<Record<string, unknown>>) => T): Reader<T> {
  return (object, metadata) => {
    const key = metadata.namespace === "" ? metadata.name : `${metadata.namespace}/${metadata.name}`;
    const version = metadata.resourceVersion;
    try {
      return { key, version, value: read(metadata, object as Readonly<Record<string, unknown>>) };
    } catch (failure) {
      return { key, version, problem: failure instanceof z.ZodError ? firstIssue(failure) : messageOf(failure) };
    }
  };
}

function firstIssue({ issues: [issue] }: z.ZodError): string {
  return issue === undefined ? "" : `${issue.path.join(".")}: ${issue.message}`;
}
