/** The part of node-forge that is used here: its ASN.1 codec, loaded alone (the whole package costs start-up time on every host). */
declare module "node-forge/lib/asn1.js" {
  export interface Asn1Node {
    readonly tagClass: number;
    readonly type: number;
    readonly constructed: boolean;
    /** Contents as a binary string, or the members of a constructed value. */
    readonly value: string | Asn1Node[];
  }

  interface DecodeOptions {
    readonly strict?: boolean;
    readonly parseAllBytes?: boolean;
    readonly decodeBitStrings?: boolean;
    readonly maxDepth?: number;
  }

  interface Asn1Codec {
    create(tagClass: number, type: number, constructed: boolean, value: string | Asn1Node[]): Asn1Node;
    /** Throws an Error on anything malformed. */
    fromDer(bytes: string, options?: DecodeOptions): Asn1Node;
    toDer(node: Asn1Node): { getBytes(): string };
    oidToDer(oid: string): { getBytes(): string };
  }

  const codec: Asn1Codec;
  export default codec;
}
