import { err, ok } from "../result.ts";
import type { Result } from "../result.ts";

/** The labels that we write and read (RFC 7468). */
export type PemLabel = "CERTIFICATE" | "CERTIFICATE REQUEST" | "PRIVATE KEY";

const block = /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\r\n]*)-----END \1-----[ \t]*(?:\r?\n|$)/g;

/** One PEM block with a final line break; blocks may be joined as they are. */
export function encodePem(label: PemLabel, der: Uint8Array): string {
  const base64 = Buffer.from(der).toString("base64");
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.map((line) => `${line}\n`).join("")}-----END ${label}-----\n`;
}

/**
 * The DER of every block with this label, in order. Other labels and text
 * between blocks are skipped, as everywhere; no block, or one whose base64 is
 * broken, is an error in words.
 */
export function decodePem(label: PemLabel, text: string): Result<readonly Buffer[], string> {
  const found: Buffer[] = [];
  for (const [, foundLabel, body = ""] of text.matchAll(block)) {
    if (foundLabel !== label) continue;
    const base64 = body.replaceAll(/[\r\n]/g, "");
    const der = Buffer.from(base64, "base64");
    if (der.length === 0 || der.toString("base64") !== base64) return err(`the ${label} block number ${found.length + 1} is not base64`);
    found.push(der);
  }
  return found.length === 0 ? err(`no ${label} block`) : ok(found);
}
