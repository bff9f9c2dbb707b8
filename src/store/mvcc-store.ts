// The store's state machine: every key's newest value in memory, its recent past, durable through a journal.

import { SampanError, SortedKeys } from '#base'
import { ChangeFeed } from './change-feed.ts'
import type { KeyValue, ListOptions, ListResult, Store, StoreEvent, Watch, Watcher, WatchOptions } from './contract.ts'
import { StoreErrors } from './contract.ts'
import { History } from './history.ts'
import { type Change, type Journal, type JournalOwner, type JournalState, noJournal, putOf } from './journal.ts'

export interface MvccState {
  revision: number
  items: KeyValue[]
  /** Changes after `compacted`, oldest first; without them nothing before `revision` is known. */
  history?: readonly StoreEvent[]
  compacted?: number
}

/** A write that has its revision and waits for the disk. */
interface Pending {
  readonly type: 'put' | 'delete'
  readonly revision: number
  /** The new value; for a delete the one that is removed. */
  readonly kv: KeyValue
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** A write that was decided on, and what its writer is told. */
interface Write<T> {
  readonly type: 'put' | 'delete'
  readonly kv: KeyValue
  readonly result: T
}

function mismatch(verb: string, key: string, known: KeyValue | undefined, revision: number | undefined): SampanError {
  return known
    ? new SampanError(
        StoreErrors.conflict,
        `Cannot ${verb} ${key}: it is at revision ${known.modRevision}, not ${revision}`,
      )
    : new SampanError(StoreErrors.keyMissing, `Cannot ${verb} ${key}: it does not exist`)
}

/**
 * Applies writes in two steps. A write is checked against the newest accepted state (`#accepted`
 * overlays `#live` with writes that are not yet durable), gets its revision, and goes to the journal.
 * When the journal says it is on disk it is applied to `#live`, which all reads and watches use; all
 * writes of one sync are shown to watchers together.
 */
export class MvccStore implements Store, JournalOwner {
  readonly shared = false
  readonly #journal: Journal
  readonly #live = new Map<string, KeyValue>()
  readonly #keys = new SortedKeys()
  /** Newest accepted value of keys with writes under way; undefined is a delete under way. */
  readonly #accepted = new Map<string, { kv: KeyValue | undefined; revision: number }>()
  readonly #feed: ChangeFeed
  #pending: Pending[] = []
  /** Refusals that wait until the writes under way are on disk, or are not. */
  #settled: (() => void)[] = []
  #liveBytes = 0
  #nextRevision: number
  #revision: number
  #closed = false
  /** Set while the journal cannot write: nothing is acknowledged. */
  #failed: SampanError | undefined

  constructor(journal: Journal = noJournal(), state: MvccState = { revision: 1, items: [] }) {
    this.#journal = journal
    this.#revision = state.revision
    this.#nextRevision = state.revision + 1
    this.#feed = new ChangeFeed(new History(state.compacted ?? state.revision, state.history))
    this.#feed.history.advance(state.revision)
    for (const kv of state.items) {
      this.#live.set(kv.key, kv)
      this.#liveBytes += kv.key.length + kv.value.length
    }
    this.#keys.load(this.#live.keys())
    journal.attach(this)
  }

  get revision(): number {
    return this.#revision
  }

  get oldest(): number {
    return this.#feed.history.oldest
  }

  consistent(): Promise<void> {
    return Promise.resolve()
  }

  create(key: string, value: Uint8Array): Promise<KeyValue> {
    return this.#attempt(key, (known) => {
      if (known) return new SampanError(StoreErrors.keyExists, `Cannot create ${key}: it exists`)
      const revision = this.#nextRevision
      const kv = { key, value, createRevision: revision, modRevision: revision }
      return { type: 'put', kv, result: kv }
    })
  }

  update(key: string, value: Uint8Array, revision: number): Promise<KeyValue> {
    return this.#attempt(key, (known) => {
      if (!known || known.modRevision !== revision) return mismatch('update', key, known, revision)
      const kv = { key, value, createRevision: known.createRevision, modRevision: this.#nextRevision }
      return { type: 'put', kv, result: kv }
    })
  }

  delete(key: string, revision?: number): Promise<{ previous: KeyValue; revision: number }> {
    return this.#attempt(key, (known) => {
      if (!known || (revision !== undefined && known.modRevision !== revision))
        return mismatch('delete', key, known, revision)
      return { type: 'delete', kv: known, result: { previous: known, revision: this.#nextRevision } }
    })
  }

  get(key: string): Promise<KeyValue | undefined> {
    return Promise.resolve(this.#live.get(key))
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListResult> {
    const at = options.revision ?? this.#revision
    if (at > this.#revision)
      throw new SampanError(StoreErrors.futureRevision, `Cannot list ${prefix}: revision ${at} is in the future`)
    if (at < this.oldest)
      throw new SampanError(StoreErrors.compacted, `Cannot list ${prefix}: revision ${at} is compacted`)
    const start = options.from ?? prefix
    const past = at < this.#revision ? this.#feed.history.changedSince(prefix, at) : undefined
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

  watch(prefix: string, watcher: Watcher, options?: WatchOptions): Watch {
    return this.#feed.watch(prefix, watcher, options)
  }

  async compact(revision: number): Promise<void> {
    if (revision > this.#revision)
      throw new SampanError(StoreErrors.futureRevision, `Cannot compact: revision ${revision} is in the future`)
    this.#feed.history.forget(revision)
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#journal.close()
    this.#feed.end()
  }

  /** @internal The journal's news. */
  durable(revision: number): void {
    const pending = this.#pending
    let n = 0
    while (n < pending.length && pending[n]!.revision <= revision) n++
    const done = n === pending.length ? pending : pending.slice(0, n)
    this.#pending = n === pending.length ? [] : pending.slice(n)
    if (done.length === 0) return
    const events = done.map((p) => this.#apply(p))
    this.#revision = done[done.length - 1]!.revision
    this.#feed.show(events)
    for (const { resolve } of done) resolve()
    this.#settle()
  }

  /** @internal */
  failed(cause: unknown): void {
    const why = cause instanceof Error ? cause.message : String(cause)
    this.#failed = new SampanError(StoreErrors.notDurable, `Cannot write: the disk does not take it (${why})`, {
      cause,
    })
    const lost = this.#pending
    this.#pending = []
    this.#accepted.clear()
    this.#nextRevision = this.#revision + 1
    for (const { reject } of lost) reject(this.#failed)
    this.#settle()
  }

  #settle(): void {
    for (const resolve of this.#settled.splice(0)) resolve()
  }

  /** @internal */
  repaired(): void {
    this.#failed = undefined
  }

  /** @internal */
  state(): JournalState {
    return { revision: this.#revision, liveBytes: this.#liveBytes, entries: () => this.#entries() }
  }

  /**
   * Decides on a write from the newest accepted state of its key. A refusal that only a write on its way to
   * the disk explains waits for that one: who is told of it must be able to read it.
   */
  async #attempt<T>(key: string, decide: (known: KeyValue | undefined) => SampanError | Write<T>): Promise<T> {
    for (;;) {
      if (this.#failed) throw this.#failed
      if (this.#closed) throw new SampanError(StoreErrors.closed, 'Cannot write: the store is closed')
      const accepted = this.#accepted.get(key)
      const decision = decide(accepted ? accepted.kv : this.#live.get(key))
      if (!(decision instanceof SampanError)) return this.#commit(decision)
      if (!accepted || decide(this.#live.get(key)) instanceof SampanError) throw decision
      await new Promise<void>((resolve) => this.#settled.push(resolve))
    }
  }

  #commit<T>({ type, kv, result }: Write<T>): Promise<T> {
    const revision = this.#nextRevision++
    this.#accepted.set(kv.key, { kv: type === 'put' ? kv : undefined, revision })
    return new Promise((resolve, reject) => {
      this.#pending.push({ type, revision, kv, resolve: () => resolve(result), reject })
      this.#journal.append({ type, revision, key: kv.key, value: kv.value, createRevision: kv.createRevision })
    })
  }

  #apply({ type, revision, kv }: Pending): StoreEvent {
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
    return previous ? { type, revision, kv, previous } : { type, revision, kv }
  }

  *#entries(): Iterable<Change> {
    for (const kv of this.#live.values()) yield putOf(kv)
  }
}
