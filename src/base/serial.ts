// Runs one job a key at a time; calls made meanwhile collapse into one more run.

/**
 * A coalescing trigger: `trigger()` runs `job` soon; calls during a run cause exactly one more.
 * Errors go to `onError` and do not stop later runs.
 */
export class Coalesced {
  readonly #job: () => Promise<void> | void
  readonly #onError: (error: unknown) => void
  #running: Promise<void> | undefined
  #again = false

  constructor(job: () => Promise<void> | void, onError: (error: unknown) => void) {
    this.#job = job
    this.#onError = onError
  }

  /** Resolves when a run that began after this call has ended. */
  trigger(): Promise<void> {
    if (this.#running) {
      this.#again = true
      return this.#running.then(() => this.#running ?? undefined)
    }
    this.#running = this.#loop().finally(() => {
      this.#running = undefined
      if (this.#again) void this.trigger()
    })
    return this.#running
  }

  async #loop(): Promise<void> {
    this.#again = false
    await undefined
    try {
      await this.#job()
    } catch (error) {
      this.#onError(error)
    }
  }
}
