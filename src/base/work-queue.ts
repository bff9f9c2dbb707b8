// The work queue of a controller: fair, de-duplicating, one worker a key, with delay and back-off.

import type { Clock, Timer } from './clock.ts'

export interface WorkQueueOptions {
  clock: Clock
  /** Delay of the first retry in milliseconds; doubles up to `maxDelay`. */
  baseDelay?: number
  maxDelay?: number
}

/**
 * A queue of keys. A key waits in the queue at most once (`dirty`); a key being worked on that is
 * added again is queued when it is done (`processing`). Failures delay a key exponentially.
 */
export class WorkQueue {
  readonly #clock: Clock
  readonly #base: number
  readonly #max: number
  /** Keys in order of arrival that are not being processed. */
  readonly #queue: string[] = []
  /** Keys that need processing: in the queue, or to be queued again after processing. */
  readonly #dirty = new Set<string>()
  /** Keys handed out by `get` and not yet `done`. */
  readonly #processing = new Set<string>()
  readonly #failures = new Map<string, number>()
  readonly #delayed = new Map<string, { at: number; timer: Timer }>()
  readonly #waiters: ((key: string | undefined) => void)[] = []
  #closed = false

  constructor(options: WorkQueueOptions) {
    this.#clock = options.clock
    this.#base = options.baseDelay ?? 5
    this.#max = options.maxDelay ?? 60_000
  }

  get length(): number {
    return this.#queue.length
  }

  /** Marks `key` as needing work. */
  add(key: string): void {
    if (this.#closed || this.#dirty.has(key)) return
    this.#dirty.add(key)
    if (this.#processing.has(key)) return
    this.#queue.push(key)
    this.#hand()
  }

  /** Adds `key` after `ms`; of several pending delays the earliest counts. */
  addAfter(key: string, ms: number): void {
    if (this.#closed) return
    if (ms <= 0) return this.add(key)
    const at = this.#clock.now() + ms
    const pending = this.#delayed.get(key)
    if (pending) {
      if (pending.at <= at) return
      pending.timer.cancel()
    }
    const timer = this.#clock.after(ms, () => {
      this.#delayed.delete(key)
      this.add(key)
    })
    this.#delayed.set(key, { at, timer })
  }

  /** Adds `key` after its back-off, which grows with each call until `forget`. */
  addFailed(key: string): void {
    const failures = this.#failures.get(key) ?? 0
    this.#failures.set(key, failures + 1)
    this.addAfter(key, Math.min(this.#base * 2 ** failures, this.#max))
  }

  /** Resets the back-off of `key`. */
  forget(key: string): void {
    this.#failures.delete(key)
  }

  /** The next key, or undefined when the queue is closed or workers are released. The caller must call `done(key)`. */
  get(): Promise<string | undefined> {
    return new Promise((resolve) => {
      if (this.#closed) return resolve(undefined)
      this.#waiters.push(resolve)
      this.#hand()
    })
  }

  /** Ends the processing of `key`. */
  done(key: string): void {
    this.#processing.delete(key)
    if (this.#dirty.has(key) && !this.#closed) {
      this.#queue.push(key)
      this.#hand()
    }
  }

  /**
   * Sends waiting workers away with undefined. Keys go on being collected for those who come later; those that
   * were delayed are looked at then.
   */
  release(): void {
    for (const waiter of this.#waiters.splice(0)) waiter(undefined)
    for (const [key, { timer }] of [...this.#delayed]) {
      timer.cancel()
      this.#delayed.delete(key)
      this.add(key)
    }
  }

  /** Stops: waiting workers get undefined, later additions are ignored. */
  close(): void {
    this.#closed = true
    for (const { timer } of this.#delayed.values()) timer.cancel()
    this.#delayed.clear()
    for (const waiter of this.#waiters.splice(0)) waiter(undefined)
  }

  #hand(): void {
    while (this.#queue.length > 0 && this.#waiters.length > 0) {
      const key = this.#queue.shift() as string
      this.#dirty.delete(key)
      this.#processing.add(key)
      this.#waiters.shift()?.(key)
    }
  }
}
