/** One level of a log: facts as fields, then the words; or the words alone. */
export interface LogWrite {
  (facts: Readonly<Record<string, unknown>>, message?: string): void;
  (message: string): void;
}

/**
 * What a component needs in order to say what it does. pino satisfies it; only
 * composition roots make a real one, everything else is handed this.
 * Facts go into fields (`{ host, error }`), never into the message; an error
 * goes under `err`; secrets go nowhere.
 */
export interface Logger {
  readonly debug: LogWrite;
  readonly info: LogWrite;
  readonly warn: LogWrite;
  readonly error: LogWrite;
  /** A logger that adds these facts to all it writes. */
  child(facts: Readonly<Record<string, unknown>>): Logger;
}

const discard: LogWrite = () => {};

/** Says nothing: for tests, and where no logger was given. */
export const silentLogger: Logger = {
  debug: discard,
  info: discard,
  warn: discard,
  error: discard,
  child: () => silentLogger,
};
