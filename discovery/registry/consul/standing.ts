/**
 * What the questions to one agent came to last. A question that fails while
 * most others do not says something of what it asks for, and nothing of the agent.
 */
export class Standing {
  /** Questions that failed last, and those that did not: whoever still waits for a first answer has not failed. */
  readonly #failing = new Set<string>();
  readonly #peaceful = new Set<string>();

  asked(question: string): void {
    if (!this.#failing.has(question)) this.#peaceful.add(question);
  }

  answered(question: string): void {
    this.#failing.delete(question);
    this.#peaceful.add(question);
  }

  failed(question: string): void {
    this.#peaceful.delete(question);
    this.#failing.add(question);
  }

  /** It fails for more questions than it does not. */
  get isBad(): boolean {
    return this.#failing.size > this.#peaceful.size;
  }

  /** Forgets all questions but these. */
  keep(isAsked: (question: string) => boolean): void {
    for (const questions of [this.#failing, this.#peaceful]) for (const question of questions) if (!isAsked(question)) questions.delete(question);
  }

  clear(): void {
    this.keep(() => false);
  }
}
