// A typed list of listeners.

/** Calls each listener in order of subscription; a listener that throws stops nobody else. */
export class Emitter<T> {
  readonly #listeners = new Set<(value: T) => void>()

  /** Subscribes; the result unsubscribes. */
  on(listener: (value: T) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  get size(): number {
    return this.#listeners.size
  }

  emit(value: T): void {
    for (const listener of this.#listeners) {
      try {
        listener(value)
      } catch (error) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
}
