// Who watches which prefix, and is told of changes.

import type { SampanError } from '#base'
import type { StoreEvent, Watch, Watcher } from './contract.ts'

/** The watchers of a store. One that fails stops nobody else. */
export class Watchers {
  readonly #all = new Set<{ readonly prefix: string; readonly watcher: Watcher }>()

  add(prefix: string, watcher: Watcher): Watch {
    const entry = { prefix, watcher }
    this.#all.add(entry)
    return { close: () => this.#all.delete(entry) }
  }

  /** Tells each of the changes below its prefix. */
  tell(events: readonly StoreEvent[]): void {
    for (const { prefix, watcher } of [...this.#all]) {
      const own = events.filter((e) => e.kv.key.startsWith(prefix))
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
    const all = [...this.#all]
    this.#all.clear()
    if (error) for (const { watcher } of all) watcher.onError?.(error)
  }
}
