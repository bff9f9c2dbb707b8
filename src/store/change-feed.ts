// What happens in a store, told to who watches: the recent past first, then each change as it comes.

import { SampanError } from '#base'
import { StoreErrors, type StoreEvent, type Watch, type Watcher, type WatchOptions } from './contract.ts'
import type { History } from './history.ts'

interface Subscription {
  readonly prefix: string
  /** First revision to tell of. */
  readonly from: number
  readonly watcher: Watcher
}

/** A store's history and those who watch it. A watcher that fails stops nobody else. */
export class ChangeFeed {
  readonly history: History
  readonly #subscriptions = new Set<Subscription>()

  constructor(history: History) {
    this.history = history
  }

  /** Store.watch. */
  watch(prefix: string, watcher: Watcher, { fromRevision: from }: WatchOptions = {}): Watch {
    if (from !== undefined && from <= this.history.oldest) {
      const gone = `Cannot watch ${prefix} from ${from}: revision is compacted`
      queueMicrotask(() => watcher.onError?.(new SampanError(StoreErrors.compacted, gone)))
      return { close() {} }
    }
    if (from !== undefined) {
      const past = this.history.since(from, prefix)
      if (past.length > 0) watcher.onEvents(past)
    }
    const subscription = { prefix, from: from ?? 0, watcher }
    this.#subscriptions.add(subscription)
    return { close: () => this.#subscriptions.delete(subscription) }
  }

  /** Remembers changes, in order of revision, and tells each watcher of its own. */
  show(events: readonly StoreEvent[]): void {
    this.history.add(events)
    for (const { prefix, from, watcher } of [...this.#subscriptions]) {
      const own = events.filter((e) => e.kv.key.startsWith(prefix) && e.revision >= from)
      if (own.length === 0) continue
      try {
        watcher.onEvents(own)
      } catch (error) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }

  /** Ends every watch, with an error or without. */
  end(error?: SampanError): void {
    const all = [...this.#subscriptions]
    this.#subscriptions.clear()
    if (error) for (const { watcher } of all) watcher.onError?.(error)
  }
}
