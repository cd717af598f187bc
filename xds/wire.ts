/** Writes and reads just enough of protobuf's wire format to frame bytes that are encoded already (https://protobuf.dev/programming-guides/encoding). */

const LENGTH_DELIMITED = 2;

function varintBytes(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 128)) size += 1;
  return size;
}

/** The size of a length-delimited field with a number under 16 and this many bytes of content. */
export function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

/** Writes fields one after the other into a buffer whose size was computed with `fieldBytes`. */
export class FieldWriter {
  readonly bytes: Buffer;
  #at = 0;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
  }

  /** Starts a length-delimited field; its content follows by the next calls. */
  open(field: number, length: number): void {
    this.bytes[this.#at] = (field << 3) | LENGTH_DELIMITED;
    this.#at += 1;
    let rest = length;
    for (; rest >= 0x80; rest = Math.floor(rest / 128)) {
      this.bytes[this.#at] = (rest % 128) | 0x80;
      this.#at += 1;
    }
    this.bytes[this.#at] = rest;
    this.#at += 1;
  }

  text(field: number, text: string, length: number): void {
    this.open(field, length);
    this.bytes.write(text, this.#at, "utf8");
    this.#at += length;
  }

  /** @returns where the copy lies in `bytes` */
  raw(content: Uint8Array): Uint8Array {
    const start = this.#at;
    this.bytes.set(content, start);
    this.#at += content.length;
    return this.bytes.subarray(start, this.#at);
  }
}

/** Encodes text fields, in this order. */
export function encodeTexts(texts: readonly (readonly [field: number, text: string])[]): Uint8Array {
  const sized = texts.map(([field, text]) => ({ field, text, length: Buffer.byteLength(text) }));
  const writer = new FieldWriter(sized.reduce((size, { length }) => size + fieldBytes(length), 0));
  for (const { field, text, length } of sized) writer.text(field, text, length);
  return writer.bytes;
}

/** One field of a message, as `fieldsOf` finds it. */
export interface WireField {
  readonly field: number;
  /** The content of a length-delimited field; undefined for any other wire type. */
  readonly content: Uint8Array | undefined;
  /** The value of a varint field (up to 2^53); undefined for any other wire type. */
  readonly value: number | undefined;
}

/** Walks over the fields of an encoded message. Ends early where the bytes are broken. */
export function* fieldsOf(message: Uint8Array): Generator<WireField> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; at < message.length; scale *= 128) {
      const byte = message[at] ?? 0;
      at += 1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
    }
    return value;
  };
  while (at < message.length) {
    const tag = varint();
    const field = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        yield { field, content: undefined, value: varint() };
        break;
      case 1:
        at += 8;
        yield { field, content: undefined, value: undefined };
        break;
      case LENGTH_DELIMITED: {
        const length = varint();
        yield { field, content: message.subarray(at, at + length), value: undefined };
        at += length;
        break;
      }
      case 5:
        at += 4;
        yield { field, content: undefined, value: undefined };
        break;
      default:
        return;
    }
  }
}

/** The text of a length-delimited field's content. */
export function textOf(content: Uint8Array | undefined): string {
  return content === undefined ? "" : Buffer.from(content.buffer, content.byteOffset, content.byteLength).toString("utf8");
}
