/**
 * Whether one server is spoken to over HTTP/2: until it refuses. Then one
 * request tries again each time a while has passed: it may be another server by
 * now, or be reached in another way.
 */
export class Http2Choice {
  readonly #retryMs: number;
  readonly #now: () => number;
  readonly #onChange: (isSpoken: boolean) => void;
  /** When it was refused, or tried, last; undefined while it is spoken. */
  #refusedAt: number | undefined;

  /** @param onChange called when it is refused first, and when it is spoken again @param now milliseconds of a clock that nobody sets */
  constructor(retryMs: number, onChange: (isSpoken: boolean) => void, now: () => number = () => performance.now()) {
    this.#retryMs = retryMs;
    this.#onChange = onChange;
    this.#now = now;
  }

  get isSpoken(): boolean {
    return this.#refusedAt === undefined;
  }

  /** Whether the next request goes over HTTP/2. Whoever asks sends one, and tells what came of it. */
  next(): boolean {
    if (this.#refusedAt === undefined) return true;
    if (this.#now() - this.#refusedAt < this.#retryMs) return false;
    // The others go on as before until this one knows.
    this.#refusedAt = this.#now();
    return true;
  }

  refused(): void {
    const wasSpoken = this.isSpoken;
    this.#refusedAt = this.#now();
    if (wasSpoken) this.#onChange(false);
  }

  agreed(): void {
    if (this.isSpoken) return;
    this.#refusedAt = undefined;
    this.#onChange(true);
  }
}
