// The store's state machine: every key's history in memory, durable through a journal.

import { SampanError } from '#base'
import type { KeyValue, ListOptions, ListResult, Store, StoreEvent, Watch, Watcher, WatchOptions } from './contract.ts'
import { StoreErrors } from './contract.ts'
import { type Change, type Journal, noJournal } from './journal.ts'
import { SortedKeys } from './sorted-keys.ts'

/** How many past events are kept for watches and for lists at old revisions. */
export const HISTORY = 10_000
const HISTORY_BYTES = 16 * 1024 * 1024

export interface MvccState {
  revision: number
  items: KeyValue[]
  /** Changes after `compacted`, oldest first; without them nothing before `revision` is known. */
  history?: readonly StoreEvent[]
  compacted?: number
}

/**
 * Applies writes in two steps. A write is checked against the newest accepted state (`#accepted`
 * overlays `#live` with writes that are not yet durable), gets its revision, and goes to the journal.
 * When the journal says it is on disk it is applied to `#live`, which all reads and watches use.
 */
export class MvccStore implements Store {
  readonly #journal: Journal
  readonly #live = new Map<string, KeyValue>()
  readonly #keys = new SortedKeys()
  /** Newest accepted value of keys with writes under way; undefined is a delete under way. */
  readonly #accepted = new Map<string, { kv: KeyValue | undefined; revision: number }>()
  readonly #watches = new Set<LiveWatch>()
  #history: StoreEvent[] = []
  #historyBytes = 0
  #liveBytes = 0
  #nextRevision: number
  #revision: number
  #compacted: number
  #closed = false
  /** Set when the journal failed: nothing more can be acknowledged. */
  #failed: SampanError | undefined

  constructor(journal: Journal = noJournal, state: MvccState = { revision: 1, items: [] }) {
    this.#journal = journal
    this.#revision = state.revision
    this.#nextRevision = state.revision + 1
    this.#compacted = state.compacted ?? state.revision
    this.#history = [...(state.history ?? [])]
    this.#historyBytes = this.#history.reduce((sum, e) => sum + e.kv.value.length, 0)
    while (this.#history.length > HISTORY || this.#historyBytes > HISTORY_BYTES) this.#forget()
    for (const kv of state.items) {
      this.#live.set(kv.key, kv)
      this.#liveBytes += kv.key.length + kv.value.length
    }
    this.#keys.load(this.#live.keys())
  }

  get revision(): number {
    return this.#revision
  }

  get oldest(): number {
    return this.#compacted
  }

  async create(key: string, value: Uint8Array): Promise<KeyValue> {
    this.#check()
    if (this.#newest(key)) throw new SampanError(StoreErrors.keyExists, `Cannot create ${key}: it exists`)
    const revision = this.#nextRevision++
    const kv = { key, value, createRevision: revision, modRevision: revision }
    await this.#commit(kv, revision, 'put')
    return kv
  }

  async update(key: string, value: Uint8Array, revision: number): Promise<KeyValue> {
    this.#check()
    const previous = this.#expect('update', key, revision)
    const next = this.#nextRevision++
    const kv = { key, value, createRevision: previous.createRevision, modRevision: next }
    await this.#commit(kv, next, 'put')
    return kv
  }

  async delete(key: string, revision?: number): Promise<{ previous: KeyValue; revision: number }> {
    this.#check()
    const previous = this.#expect('delete', key, revision)
    const next = this.#nextRevision++
    await this.#commit(previous, next, 'delete')
    return { previous, revision: next }
  }

  get(key: string): Promise<KeyValue | undefined> {
    return Promise.resolve(this.#live.get(key))
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListResult> {
    const at = options.revision ?? this.#revision
    if (at > this.#revision)
      throw new SampanError(StoreErrors.futureRevision, `Cannot list ${prefix}: revision ${at} is in the future`)
    if (at < this.#compacted)
      throw new SampanError(StoreErrors.compacted, `Cannot list ${prefix}: revision ${at} is compacted`)
    const start = options.from ?? prefix
    const past = at < this.#revision ? this.#changedSince(prefix, at) : undefined
    const items: KeyValue[] = []
    let more = false
    const limit = options.limit || Number.POSITIVE_INFINITY
    const take = (kv: KeyValue): boolean => {
      if (items.length >= limit) {
        more = true
        return false
      }
      items.push(kv)
      return true
    }
    const gone = past ? [...past.values()].filter((kv): kv is KeyValue => kv !== undefined && kv.key >= start) : []
    const pastKeys = gone.filter((kv) => !this.#live.has(kv.key)).sort((a, b) => (a.key < b.key ? -1 : 1))
    let g = 0
    for (const key of this.#keys.range(start, prefix)) {
      for (let extra = pastKeys[g]; extra && extra.key < key; extra = pastKeys[++g])
        if (!take(extra)) return { items, revision: at, more }
      const kv = past?.has(key) ? past.get(key) : this.#live.get(key)
      if (kv && !take(kv)) return { items, revision: at, more }
    }
    for (; g < pastKeys.length; g++) if (!take(pastKeys[g]!)) break
    return { items, revision: at, more }
  }

  watch(prefix: string, watcher: Watcher, options: WatchOptions = {}): Watch {
    const live: LiveWatch = { prefix, watcher }
    const from = options.fromRevision
    if (from !== undefined && from <= this.#compacted) {
      queueMicrotask(() =>
        watcher.onError?.(
          new SampanError(StoreErrors.compacted, `Cannot watch ${prefix} from ${from}: revision is compacted`),
        ),
      )
      return { close() {} }
    }
    if (from !== undefined && from <= this.#revision) {
      const events = this.#history.filter((e) => e.revision >= from && e.kv.key.startsWith(prefix))
      if (events.length > 0) watcher.onEvents(events)
    }
    this.#watches.add(live)
    return { close: () => this.#watches.delete(live) }
  }

  async compact(revision: number): Promise<void> {
    if (revision > this.#revision)
      throw new SampanError(StoreErrors.futureRevision, `Cannot compact: revision ${revision} is in the future`)
    if (revision <= this.#compacted) return
    this.#compacted = revision
    this.#history = this.#history.filter((e) => e.revision > revision)
    this.#historyBytes = this.#history.reduce((sum, e) => sum + e.kv.value.length, 0)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#watches.clear()
    await this.#journal.close()
  }

  #check(): void {
    if (this.#failed) throw this.#failed
    if (this.#closed) throw new SampanError(StoreErrors.closed, 'Cannot write: the store is closed')
  }

  #newest(key: string): KeyValue | undefined {
    const accepted = this.#accepted.get(key)
    return accepted ? accepted.kv : this.#live.get(key)
  }

  #expect(verb: string, key: string, revision: number | undefined): KeyValue {
    const newest = this.#newest(key)
    if (!newest) throw new SampanError(StoreErrors.keyMissing, `Cannot ${verb} ${key}: it does not exist`)
    if (revision !== undefined && newest.modRevision !== revision)
      throw new SampanError(
        StoreErrors.conflict,
        `Cannot ${verb} ${key}: it is at revision ${newest.modRevision}, not ${revision}`,
      )
    return newest
  }

  async #commit(kv: KeyValue, revision: number, type: 'put' | 'delete'): Promise<void> {
    this.#accepted.set(kv.key, { kv: type === 'put' ? kv : undefined, revision })
    try {
      await this.#journal.append({ type, revision, key: kv.key, value: kv.value, createRevision: kv.createRevision })
    } catch (cause) {
      this.#failed ??= new SampanError(StoreErrors.notDurable, 'Cannot write: the journal failed', { cause })
      throw this.#failed
    }
    this.#apply(kv, revision, type)
  }

  #apply(kv: KeyValue, revision: number, type: 'put' | 'delete'): void {
    const previous = this.#live.get(kv.key)
    if (previous) this.#liveBytes -= kv.key.length + previous.value.length
    if (type === 'put') {
      this.#live.set(kv.key, kv)
      this.#liveBytes += kv.key.length + kv.value.length
      if (!previous) this.#keys.add(kv.key)
    } else {
      this.#live.delete(kv.key)
      this.#keys.delete(kv.key)
    }
    if (this.#accepted.get(kv.key)?.revision === revision) this.#accepted.delete(kv.key)
    this.#revision = revision
    const event: StoreEvent = previous ? { type, revision, kv, previous } : { type, revision, kv }
    this.#history.push(event)
    this.#historyBytes += kv.value.length
    if (this.#history.length > HISTORY || this.#historyBytes > HISTORY_BYTES) this.#forget()
    for (const { prefix, watcher } of this.#watches) if (kv.key.startsWith(prefix)) watcher.onEvents([event])
    this.#journal.maintain?.({
      revision,
      liveBytes: this.#liveBytes,
      entries: () => this.#entries(),
    })
  }

  #forget(): void {
    const cut = Math.ceil(this.#history.length / 2)
    this.#compacted = this.#history[cut - 1]!.revision
    this.#history = this.#history.slice(cut)
    this.#historyBytes = this.#history.reduce((sum, e) => sum + e.kv.value.length, 0)
  }

  *#entries(): Iterable<Change> {
    for (const kv of this.#live.values())
      yield {
        type: 'put',
        revision: kv.modRevision,
        key: kv.key,
        value: kv.value,
        createRevision: kv.createRevision,
      }
  }

  /** What the keys changed after `revision` held at it; undefined where they did not exist. */
  #changedSince(prefix: string, revision: number): Map<string, KeyValue | undefined> {
    const past = new Map<string, KeyValue | undefined>()
    for (const event of this.#history)
      if (event.revision > revision && event.kv.key.startsWith(prefix) && !past.has(event.kv.key))
        past.set(event.kv.key, event.previous)
    return past
  }
}

interface LiveWatch {
  readonly prefix: string
  readonly watcher: Watcher
}
