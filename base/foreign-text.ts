/**
 * Control characters (C0, DEL, C1), which a terminal obeys; format characters,
 * which hide text or turn it around; line and paragraph separators; halves of
 * surrogate pairs.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * What strangers say, made fit for logs, terminals and records: one line of at
 * most `maxLength` UTF-16 units, `?` for each character that does not print.
 */
export function foreignText(text: string, maxLength = Number.POSITIVE_INFINITY): string {
  return text.slice(0, maxLength).replaceAll(UNPRINTABLE, "?");
}

/** The same for text of several lines: line ends and tabs stay. */
export function foreignLines(text: string, maxLength = Number.POSITIVE_INFINITY): string {
  return text.slice(0, maxLength).replaceAll(UNPRINTABLE, (character) => (character === "\n" || character === "\t" ? character : "?"));
}
