/** What an operational error may carry besides its words. */
export interface CodedErrorOptions {
  /** What led to it. */
  readonly cause?: unknown;
  /** The facts of the case, for logs and programs; never secrets. */
  readonly facts?: Readonly<Record<string, unknown>>;
  /** The likely cause and what to do about it. */
  readonly hint?: string;
}

/**
 * An operational error: something outside the program went wrong (a file, a
 * peer, a permission). It carries a code that docs/errors.md explains. A bug is
 * not one of these: it throws a plain Error and crashes the process.
 */
export class CodedError extends Error {
  readonly code: string;
  readonly facts: Readonly<Record<string, unknown>>;
  readonly hint: string | undefined;

  /**
   * @param code `MESH_…`, listed in docs/errors.md
   * @param message lower case, no final period
   */
  constructor(code: string, message: string, options: CodedErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "CodedError";
    this.code = code;
    this.facts = options.facts ?? {};
    this.hint = options.hint;
  }
}

/** The words of anything thrown, for messages that quote a cause. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
