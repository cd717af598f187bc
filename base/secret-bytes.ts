import { inspect } from "node:util";

/**
 * Bytes that must not be printed: a private key, a token. Every way that
 * JavaScript turns a value into text shows `[secret]`; only `reveal()` gives
 * the bytes, so that a search for it finds every use.
 */
export class SecretBytes {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array | string) {
    this.#bytes = typeof bytes === "string" ? Buffer.from(bytes, "utf8") : bytes;
  }

  reveal(): Uint8Array {
    return this.#bytes;
  }

  revealText(): string {
    return Buffer.from(this.#bytes).toString("utf8");
  }

  toString(): string {
    return "[secret]";
  }

  toJSON(): string {
    return "[secret]";
  }

  [inspect.custom](): string {
    return "[secret]";
  }
}
