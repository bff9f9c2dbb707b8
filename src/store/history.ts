// The changes of the recent past, for watches that begin there and for lists as of then.

import type { KeyValue, StoreEvent } from './contract.ts'

/** How many past events are kept, and how many bytes of values in them. */
export const HISTORY = 5_000
const HISTORY_BYTES = 8 * 1024 * 1024

/** Events in order of revision: all behind `oldest`, up to `newest`. The older half goes when there are too many. */
export class History {
  #events: StoreEvent[] = []
  #bytes = 0
  #oldest: number
  #newest: number

  /** Nothing is known before or at `revision`. */
  constructor(revision: number, events: readonly StoreEvent[] = []) {
    this.#oldest = revision
    this.#newest = revision
    if (events.length > 0) this.add(events)
  }

  /** Everything behind this revision is known. */
  get oldest(): number {
    return this.#oldest
  }

  get newest(): number {
    return this.#newest
  }

  add(events: readonly StoreEvent[]): void {
    for (const event of events) {
      // A deletion whose value is not known any more cannot be told again.
      if (event.type === 'delete' && !event.previous) {
        this.restart(event.revision)
        continue
      }
      this.#events.push(event)
      this.#bytes += event.kv.value.length
    }
    this.#newest = events[events.length - 1]!.revision
    while (this.#events.length > HISTORY || (this.#bytes > HISTORY_BYTES && this.#events.length > 1)) this.#halve()
  }

  /** Everything up to a revision is known, with no event of its own. */
  advance(revision: number): void {
    this.#newest = Math.max(this.#newest, revision)
  }

  /** Events from a revision on whose keys begin with `prefix`. */
  since(revision: number, prefix: string): StoreEvent[] {
    const result: StoreEvent[] = []
    for (let i = this.#indexOf(revision); i < this.#events.length; i++)
      if (this.#events[i]!.kv.key.startsWith(prefix)) result.push(this.#events[i]!)
    return result
  }

  /** What the keys changed after `revision` held at it; undefined where they did not exist. */
  changedSince(prefix: string, revision: number): Map<string, KeyValue | undefined> {
    const past = new Map<string, KeyValue | undefined>()
    for (const event of this.since(revision + 1, prefix))
      if (!past.has(event.kv.key)) past.set(event.kv.key, event.previous)
    return past
  }

  /** Forgets what happened up to a revision. */
  forget(revision: number): void {
    if (revision <= this.#oldest) return
    this.#keepFrom(this.#indexOf(revision + 1))
    this.#oldest = revision
    this.#newest = Math.max(this.#newest, revision)
  }

  /** Begins again at a revision: what was before it is not known any more. */
  restart(revision: number): void {
    this.#keepFrom(this.#events.length)
    this.#oldest = revision
    this.#newest = revision
  }

  #halve(): void {
    const cut = Math.ceil(this.#events.length / 2)
    this.#oldest = this.#events[cut - 1]!.revision
    // A revision may have several events: it is forgotten whole.
    this.#keepFrom(this.#indexOf(this.#oldest + 1))
  }

  #keepFrom(index: number): void {
    this.#events = this.#events.slice(index)
    this.#bytes = this.#events.reduce((sum, e) => sum + e.kv.value.length, 0)
  }

  /** Index of the first event at or behind a revision. */
  #indexOf(revision: number): number {
    let low = 0
    let high = this.#events.length
    while (low < high) {
      const mid = (low + high) >> 1
      if (this.#events[mid]!.revision < revision) low = mid + 1
      else high = mid
    }
    return low
  }
}
