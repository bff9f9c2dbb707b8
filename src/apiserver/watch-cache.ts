// The watch cache: a resource's newest objects and recent events, shared by every reader and watcher.

import { errors } from '#api'
import { type SampanError, SortedKeys } from '#base'
import { isStoreError, type KeyValue, type Store, StoreErrors, type StoreEvent } from '#store'
import { CacheEntry } from './cache-entry.ts'

const WINDOW = 2000
/** Pause before a list that failed is tried again, milliseconds. */
const AGAIN_MS = 500

/** A change of one object. On DELETED `entry` is the last state at the revision of the deletion. */
export interface CacheEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  /** "namespace/name", or "name" in the cluster's scope. */
  readonly key: string
  readonly revision: number
  readonly entry: CacheEntry
  readonly previous?: CacheEntry
}

/** Changes that became readable together, in order. */
export interface Batch {
  readonly events: readonly CacheEvent[]
  /** What watchers made of it: those who want the same share it. */
  readonly encoded: Map<string, Uint8Array>
}

export type BatchListener = (batch: Batch) => void

/** Which changes a listener wants: all, those of a namespace, or those of one key. */
export interface Scope {
  readonly namespace?: string
  readonly key?: string
}

const bucketOf = ({ namespace, key }: Scope) => (key ? `=${key}` : namespace ? `${namespace}/` : '')

const within = (event: CacheEvent, { namespace, key }: Scope) =>
  key ? event.key === key : !namespace || event.key.startsWith(`${namespace}/`)

/** All objects of one resource, in order of key, with the events of the recent past. */
export class WatchCache {
  readonly #entries = new Map<string, CacheEntry>()
  readonly #keys = new SortedKeys()
  /** Listeners by what they want: a change is offered only to those it may concern. */
  readonly #listeners = new Map<string, Set<BatchListener>>()
  readonly #prefix: string
  readonly #store: Store
  #window: CacheEvent[] = []
  /** Events at or before this revision are no longer in the window. */
  #windowStart = 0

  private constructor(store: Store, prefix: string) {
    this.#store = store
    this.#prefix = prefix
  }

  static async open(store: Store, prefix: string): Promise<WatchCache> {
    const cache = new WatchCache(store, prefix)
    const { items, revision } = await store.list(prefix)
    for (const kv of items) cache.#entries.set(cache.#keyOf(kv), CacheEntry.of(kv))
    cache.#keys.load(cache.#entries.keys())
    cache.#recall(revision)
    cache.#follow(revision)
    return cache
  }

  #keyOf(kv: KeyValue): string {
    return kv.key.slice(this.#prefix.length)
  }

  #follow(revision: number): void {
    const onError = (error: SampanError) => {
      if (isStoreError(error, StoreErrors.compacted)) void this.#againUntilDone()
      else throw error
    }
    this.#store.watch(
      this.#prefix,
      { onEvents: (events) => this.#apply(events), onError },
      { fromRevision: revision + 1 },
    )
  }

  /** Lists anew until it succeeds: without it the cache would stand still. */
  async #againUntilDone(): Promise<void> {
    for (;;) {
      try {
        return await this.#again()
      } catch (error) {
        if (isStoreError(error, StoreErrors.closed)) return
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
      }
    }
  }

  /** The store has forgotten what happened meanwhile: lists anew and shows what is different. */
  async #again(): Promise<void> {
    const { items, revision } = await this.#store.list(this.#prefix)
    const now = new Map(items.map((kv) => [this.#keyOf(kv), kv]))
    const events: StoreEvent[] = []
    for (const [key, entry] of this.#entries)
      if (!now.has(key)) {
        const kv = { key: this.#prefix + key, value: new Uint8Array(), createRevision: 0, modRevision: entry.revision }
        events.push({ type: 'delete', revision, kv })
      }
    for (const [key, kv] of now)
      if (this.#entries.get(key)?.revision !== kv.modRevision)
        events.push({ type: 'put', revision: kv.modRevision, kv })
    events.sort((a, b) => a.revision - b.revision)
    this.#window = []
    this.#windowStart = revision
    if (events.length > 0) this.#apply(events)
    this.#window = []
    this.#windowStart = revision
    this.#follow(revision)
  }

  /** Fills the window with what the store remembers, so that a watch goes on where it was before a restart. */
  #recall(revision: number): void {
    const { oldest } = this.#store
    this.#windowStart = Math.min(oldest, revision)
    const past: StoreEvent[] = []
    if (oldest < revision)
      this.#store
        .watch(this.#prefix, { onEvents: (events) => past.push(...events) }, { fromRevision: oldest + 1 })
        .close()
    const known = past.filter((e) => e.revision <= revision)
    const kept = known.slice(-WINDOW)
    const dropped = known[known.length - kept.length - 1]
    if (dropped) this.#windowStart = dropped.revision
    this.#window = kept.map((event) => this.#changeOf(event, event.previous && CacheEntry.of(event.previous)))
  }

  /** The newest revision of the whole store: what a list now shows. */
  get revision(): number {
    return this.#store.revision
  }

  get size(): number {
    return this.#entries.size
  }

  entry(key: string): CacheEntry | undefined {
    return this.#entries.get(key)
  }

  /** Entries in order of key, optionally of one namespace. */
  entries(namespace = ''): CacheEntry[] {
    const result: CacheEntry[] = []
    for (const key of this.keys(namespace)) result.push(this.#entries.get(key)!)
    return result
  }

  /** Keys in order, optionally of one namespace or from one on. The cache must not change meanwhile. */
  keys(namespace = '', start = ''): Iterable<string> {
    const prefix = namespace ? `${namespace}/` : ''
    return this.#keys.range(start > prefix ? start : prefix, prefix)
  }

  /**
   * Calls `listener` for every change after `revision`, first those of the window.
   * Fails with Expired when they are gone. The result ends the subscription.
   */
  watch(revision: number, scope: Scope, listener: BatchListener): () => void {
    if (revision < this.#windowStart)
      throw errors.expired(`too old resource version: ${revision} (${this.#windowStart})`)
    const past = this.#window.filter((e) => e.revision > revision && within(e, scope))
    if (past.length > 0) listener({ events: past, encoded: new Map() })
    return this.subscribe(scope, listener)
  }

  /** Calls `listener` for changes from now on. */
  subscribe(scope: Scope, listener: BatchListener): () => void {
    const bucket = bucketOf(scope)
    const own: BatchListener = (batch) => listener(batch)
    let set = this.#listeners.get(bucket)
    if (!set) this.#listeners.set(bucket, (set = new Set()))
    set.add(own)
    return () => {
      set.delete(own)
      if (set.size === 0 && this.#listeners.get(bucket) === set) this.#listeners.delete(bucket)
    }
  }

  #apply(events: readonly StoreEvent[]): void {
    const changes: CacheEvent[] = []
    for (const event of events) {
      const key = this.#keyOf(event.kv)
      const previous = this.#entries.get(key)
      if (event.type === 'delete' && !previous) continue
      const change = this.#changeOf(event, previous)
      if (event.type === 'delete') {
        this.#entries.delete(key)
        this.#keys.delete(key)
      } else {
        this.#entries.set(key, change.entry)
        if (!previous) this.#keys.add(key)
      }
      changes.push(change)
    }
    if (changes.length === 0) return
    this.#window.push(...changes)
    if (this.#window.length > WINDOW) {
      const cut = Math.max(WINDOW / 2, this.#window.length - WINDOW)
      this.#windowStart = this.#window[cut - 1]!.revision
      this.#window = this.#window.slice(cut)
    }
    this.#offer(changes)
  }

  /** Tells whoever may be concerned. */
  #offer(changes: readonly CacheEvent[]): void {
    if (this.#listeners.size === 0) return
    const buckets = new Map<string, CacheEvent[]>()
    const put = (bucket: string, change: CacheEvent) => {
      if (!this.#listeners.has(bucket)) return
      const list = buckets.get(bucket)
      if (list) list.push(change)
      else buckets.set(bucket, [change])
    }
    for (const change of changes) {
      put('', change)
      const slash = change.key.indexOf('/')
      if (slash > 0) put(change.key.slice(0, slash + 1), change)
      put(`=${change.key}`, change)
    }
    for (const [bucket, events] of buckets) {
      const batch: Batch = { events, encoded: new Map() }
      for (const listener of this.#listeners.get(bucket) ?? []) {
        try {
          listener(batch)
        } catch (error) {
          // A listener that fails stops nobody else.
          queueMicrotask(() => {
            throw error
          })
        }
      }
    }
  }

  /** A change of the store as a change of an object, given what the object was. */
  #changeOf(event: StoreEvent, previous: CacheEntry | undefined): CacheEvent {
    const key = this.#keyOf(event.kv)
    const { revision } = event
    if (event.type === 'delete') {
      const last = previous ?? CacheEntry.of(event.kv)
      return { type: 'DELETED', key, revision, entry: last.at(revision), previous: last }
    }
    const entry = CacheEntry.of(event.kv)
    return previous ? { type: 'MODIFIED', key, revision, entry, previous } : { type: 'ADDED', key, revision, entry }
  }
}
