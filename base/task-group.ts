/** Something with an owner that ends it. */
export interface Closable {
  close(): Promise<void> | void;
}

/**
 * Owns what a component started and ends it in reverse order, once. A failing
 * close does not keep the others from closing: all failures are thrown together.
 */
export class TaskGroup implements Closable {
  readonly #closers: (() => Promise<void> | void)[] = [];
  #closing: Promise<void> | undefined;

  /** Takes ownership and hands the thing back. */
  own<T extends Closable>(task: T): T {
    this.#closers.push(() => task.close());
    return task;
  }

  /** Registers what must be undone at the end. */
  defer(undo: () => Promise<void> | void): void {
    this.#closers.push(undo);
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    const failures: unknown[] = [];
    for (const closer of this.#closers.reverse()) {
      try {
        await closer();
      } catch (failure) {
        failures.push(failure);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, "closing failed");
  }
}
