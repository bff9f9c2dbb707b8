// What a controller did and has not yet seen: keeps it from doing it twice on a stale copy.

import type { Change } from '#client'

/** Creates and deletes by controller key, forgotten when the informer shows them. */
export class Expectations {
  readonly #waiting = new Map<string, Set<string>>()
  readonly #ownerOf = new Map<string, string>()

  /** `key` created or deleted the object with this uid. */
  expect(key: string, uid: string): void {
    let set = this.#waiting.get(key)
    if (!set) {
      set = new Set()
      this.#waiting.set(key, set)
    }
    set.add(uid)
    this.#ownerOf.set(uid, key)
  }

  /** True when the copy shows everything `key` did. */
  satisfied(key: string): boolean {
    return !this.#waiting.get(key)?.size
  }

  /** Call for every change of the informer. */
  observe({ object }: Change): void {
    this.settle(object.metadata.uid)
  }

  /** The object with this uid has been seen, or will not come. */
  settle(uid: string): void {
    const key = this.#ownerOf.get(uid)
    if (key === undefined) return
    this.#ownerOf.delete(uid)
    const set = this.#waiting.get(key)
    set?.delete(uid)
    if (set?.size === 0) this.#waiting.delete(key)
  }
}
