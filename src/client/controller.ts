// The reconcile loop: keys from a work queue, one at a time a key, back-off on errors.

import { isConflict } from '#api'
import { type Clock, type Log, messageOf, WorkQueue } from '#base'

/** What a reconcile asks for: to be called again after so many milliseconds. */
// biome-ignore lint/suspicious/noConfusingVoidType: reconcilers may return nothing
export type ReconcileResult = { requeueAfter?: number } | void

export interface ControllerOptions {
  name: string
  clock: Clock
  log: Log
  /** How many keys are worked on at once. */
  workers?: number
  /** Brings the world closer to the object's spec. Reads first, is idempotent; throws to be called again later. */
  reconcile(key: string, signal: AbortSignal): Promise<ReconcileResult>
}

/** A running controller. */
export class Controller {
  readonly name: string
  readonly queue: WorkQueue
  readonly #options: ControllerOptions

  constructor(options: ControllerOptions) {
    this.name = options.name
    this.#options = options
    this.queue = new WorkQueue({ clock: options.clock, baseDelay: 5, maxDelay: 30_000 })
  }

  /** Works until `signal` aborts; may be called again then. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.queue.release(), { once: true })
    const workers = Array.from({ length: this.#options.workers ?? 4 }, () => this.#work(signal))
    await Promise.all(workers)
  }

  async #work(signal: AbortSignal): Promise<void> {
    for (;;) {
      if (signal.aborted) return
      const key = await this.queue.get()
      if (key === undefined) return
      if (signal.aborted) {
        // It is left to whoever works next.
        this.queue.done(key)
        this.queue.add(key)
        return
      }
      try {
        const result = await this.#options.reconcile(key, signal)
        this.queue.forget(key)
        const { requeueAfter } = result ?? {}
        // Who works next looks at once.
        if (requeueAfter !== undefined) this.queue.addAfter(key, signal.aborted ? 0 : requeueAfter)
      } catch (error) {
        // A conflict means somebody was faster; the next try sees their change.
        if (!isConflict(error))
          this.#options.log.warn('reconcile failed', { controller: this.name, key, error: messageOf(error) })
        if (signal.aborted) this.queue.add(key)
        else this.queue.addFailed(key)
      } finally {
        this.queue.done(key)
      }
    }
  }
}
