// What only one object may have, while that object is on its way to the store: one taker at a time, on every server.

import { isStoreError, type KeyValue, type Store, StoreErrors } from '#store'
import { type ObjectStore, translated } from './object-store.ts'

/** A record without its object is a write under way for so long, milliseconds; then it is anybody's. */
const UNDER_WAY_MS = 30_000
/** How often, and how often at most, a record is looked at again whose object has gone. */
const RELEASE_MS = 50
const RELEASES = 10

/** A claim as it is stored. */
interface Claim {
  readonly uid: string
  /** When it was taken, milliseconds since 1970. */
  readonly at: number
}

/**
 * Values (addresses, ports) that are taken before the object that has them is stored. Writes of this server
 * know of one another; where servers share a store, each value taken is a record there, made by a create that
 * only one of them wins. Records whose object went without notice are taken over.
 */
export class Claims {
  readonly #prefix: string
  readonly #store: ObjectStore
  readonly #holds: (uid: string, value: string) => boolean
  readonly #taken = new Map<string, { uid: string; by: object }>()

  /** `holds` tells whether a stored object has a value. */
  constructor(store: ObjectStore, name: string, holds: (uid: string, value: string) => boolean) {
    this.#store = store
    this.#prefix = `/registry/claims/${name}/`
    this.#holds = holds
  }

  /** Takes a value for an object until the write `by` is settled; false when another has it. */
  async take(value: string, uid: string, by: object): Promise<boolean> {
    const holder = this.#taken.get(value)
    if (holder && holder.uid !== uid) return false
    this.#taken.set(value, { uid, by })
    const shared = this.#store.sharedStore
    if (!shared) return true
    let won = false
    try {
      won = await this.#record(shared, this.#prefix + value, value, uid)
    } catch (error) {
      throw translated(error)
    } finally {
      if (!won) this.#taken.delete(value)
    }
    return won
  }

  /** A write is over; what it took is in its object if it was stored, and else free again. */
  settle(by: object, stored: boolean): void {
    for (const [value, holder] of this.#taken) {
      if (holder.by !== by) continue
      this.#taken.delete(value)
      if (!stored && !this.#holds(holder.uid, value)) this.release(value, holder.uid)
    }
  }

  /** An object no longer has a value. */
  release(value: string, uid: string): void {
    const shared = this.#store.sharedStore
    if (!shared) return
    const key = this.#prefix + value
    const remove = async () => {
      const record = await shared.get(key)
      if (record && read(record).uid === uid) await shared.delete(key, record.modRevision)
    }
    // Another server may have done it; and what stays is taken over by who needs it.
    remove().catch(() => {})
  }

  async #record(store: Store, key: string, value: string, uid: string): Promise<boolean> {
    const record = Buffer.from(JSON.stringify({ uid, at: Date.now() } satisfies Claim))
    for (let looks = 0; ; looks++) {
      try {
        await store.create(key, record)
        return true
      } catch (error) {
        if (!isStoreError(error, StoreErrors.keyExists)) throw error
      }
      await store.consistent()
      const there = await store.get(key)
      if (!there) continue
      const { uid: owner, at } = read(there)
      if (owner === uid) return true
      if (this.#holds(owner, value)) return false
      if (Date.now() - at > UNDER_WAY_MS) {
        try {
          await store.update(key, record, there.modRevision)
          return true
        } catch (error) {
          if (!isStoreError(error, StoreErrors.conflict) && !isStoreError(error, StoreErrors.keyMissing)) throw error
          continue
        }
      }
      if (looks >= RELEASES) return false
      await new Promise((resolve) => setTimeout(resolve, RELEASE_MS))
    }
  }
}

const read = ({ value }: KeyValue): Claim => JSON.parse(Buffer.from(value).toString()) as Claim
