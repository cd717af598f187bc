/** What the audience of the demo sees. */
export interface Narrator {
  /** Opens a numbered step. */
  step(number: number, title: string): void;
  /** A sentence of explanation. */
  say(text: string): void;
  /** A command as a person would type it, before its output is known. */
  command(host: string, commandLine: string): void;
  /** What a command printed. */
  output(text: string): void;
  /** Something that was checked, and held. */
  proof(text: string): void;
}

const MAX_OUTPUT_LINES = 40;

/** Writes for people; colours where a terminal shows them. */
export function createNarrator(write: (line: string) => void, hasColours: boolean): Narrator {
  const paint = (code: string, text: string): string => (hasColours ? `\u001B[${code}m${text}\u001B[0m` : text);
  return {
    step: (number, title) => write(`\n${paint("1;36", `━━ ${number}. ${title}`)}`),
    say: (text) => write(paint("2", `   ${text}`)),
    command(host, commandLine) {
      const [first = "", ...rest] = commandLine.split("\n");
      write(`\n${paint("1", `${host}$ ${first}`)}`);
      for (const line of rest) write(paint("2", line));
    },
    output(text) {
      const lines = text.trimEnd().split("\n");
      for (const line of lines.slice(0, MAX_OUTPUT_LINES)) write(line);
      if (lines.length > MAX_OUTPUT_LINES) write(paint("2", `(${lines.length - MAX_OUTPUT_LINES} more lines)`));
    },
    proof: (text) => write(paint("32", ` ✓ ${text}`)),
  };
}

/** A `write` that shows life while nothing is written; `close` ends that. */
export interface Heartbeat {
  readonly write: (line: string) => void;
  readonly close: () => void;
}

/** Whenever nothing was written for `silenceMs`, says for how long it has been waiting. */
export function withHeartbeat(write: (line: string) => void, silenceMs: number): Heartbeat {
  let lastWrittenAt = Date.now();
  const timer = setInterval(() => write(`   … ${Math.round((Date.now() - lastWrittenAt) / 1000)} s`), silenceMs);
  return {
    write(line) {
      lastWrittenAt = Date.now();
      timer.refresh();
      write(line);
    },
    close: () => clearInterval(timer),
  };
}
