// The watch cache: a resource's newest objects and recent events, shared by every reader and watcher.

import { deepFreeze, errors, type KubeObject } from '#api'
import { Emitter, type SampanError } from '#base'
import type { KeyValue, Store, StoreEvent } from '#store'

const WINDOW = 2000
const decoder = new TextDecoder()
const encoder = new TextEncoder()

/** One version of an object. The object is frozen; `json` is made on first use and shared. */
export class CacheEntry {
  readonly object: KubeObject
  readonly revision: number
  #json: Uint8Array | undefined
  #otherVersions: Map<string, Uint8Array> | undefined

  constructor(object: KubeObject, revision: number) {
    this.object = object
    this.revision = revision
  }

  /** The object as JSON bytes, as it is stored. */
  json(): Uint8Array {
    this.#json ??= encoder.encode(JSON.stringify(this.object))
    return this.#json
  }

  /** The object as JSON bytes in another version, made by `convert` once. */
  jsonIn(apiVersion: string, convert: (object: KubeObject) => unknown): Uint8Array {
    if (apiVersion === this.object.apiVersion) return this.json()
    this.#otherVersions ??= new Map()
    let bytes = this.#otherVersions.get(apiVersion)
    if (!bytes) {
      bytes = encoder.encode(JSON.stringify(convert(this.object)))
      this.#otherVersions.set(apiVersion, bytes)
    }
    return bytes
  }
}

/** A change of one object. On DELETED `entry` is the last state at the revision of the deletion. */
export interface CacheEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly key: string
  readonly revision: number
  readonly entry: CacheEntry
  readonly previous?: CacheEntry
}

/** All objects of one resource, in order of key, with the events of the recent past. */
export class WatchCache {
  readonly #entries = new Map<string, CacheEntry>()
  readonly #events = new Emitter<CacheEvent>()
  readonly #prefix: string
  readonly #store: Store
  #sorted: string[] | undefined
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
    for (const kv of items) cache.#entries.set(kv.key.slice(prefix.length), decodeEntry(kv))
    cache.#recall(revision)
    store.watch(
      prefix,
      {
        onEvents: (events) => {
          for (const event of events) cache.#apply(event)
        },
        onError: (error: SampanError) => {
          throw error
        },
      },
      { fromRevision: revision + 1 },
    )
    return cache
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
    this.#window = kept.map((event) => this.#changeOf(event, event.previous && decodeEntry(event.previous)))
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

  /** Keys in byte order. */
  keys(): readonly string[] {
    this.#sorted ??= [...this.#entries.keys()].sort()
    return this.#sorted
  }

  /** Entries in order of key, optionally of one namespace. */
  entries(namespace = ''): CacheEntry[] {
    const result: CacheEntry[] = []
    const prefix = namespace ? `${namespace}/` : ''
    for (const key of this.keys()) if (key.startsWith(prefix)) result.push(this.#entries.get(key)!)
    return result
  }

  /**
   * Calls `listener` for every event after `revision`, first those of the window.
   * Fails with Expired when they are gone. The result ends the subscription.
   */
  watch(revision: number, listener: (event: CacheEvent) => void): () => void {
    if (revision < this.#windowStart)
      throw errors.expired(`too old resource version: ${revision} (${this.#windowStart})`)
    for (const event of this.#window) if (event.revision > revision) listener(event)
    return this.#events.on(listener)
  }

  /** Calls `listener` for events from now on. */
  subscribe(listener: (event: CacheEvent) => void): () => void {
    return this.#events.on(listener)
  }

  #apply(event: StoreEvent): void {
    const key = event.kv.key.slice(this.#prefix.length)
    const previous = this.#entries.get(key)
    if (event.type === 'delete' && !previous) return
    const change = this.#changeOf(event, previous)
    if (event.type === 'delete') this.#entries.delete(key)
    else this.#entries.set(key, change.entry)
    if (event.type === 'delete' || !previous) this.#sorted = undefined
    this.#window.push(change)
    if (this.#window.length > WINDOW) {
      const cut = WINDOW / 2
      this.#windowStart = this.#window[cut - 1]!.revision
      this.#window = this.#window.slice(cut)
    }
    this.#events.emit(change)
  }

  /** A change of the store as a change of an object, given what the object was. */
  #changeOf(event: StoreEvent, previous: CacheEntry | undefined): CacheEvent {
    const key = event.kv.key.slice(this.#prefix.length)
    const { revision } = event
    if (event.type === 'delete') {
      const last = previous ?? decodeEntry(event.kv)
      const metadata = { ...last.object.metadata, resourceVersion: String(revision) }
      const entry = new CacheEntry(deepFreeze({ ...last.object, metadata }), revision)
      return { type: 'DELETED', key, revision, entry, previous: last }
    }
    const entry = decodeEntry(event.kv)
    return previous ? { type: 'MODIFIED', key, revision, entry, previous } : { type: 'ADDED', key, revision, entry }
  }
}

/** A stored value as an entry of its own. */
export function decodeEntry(kv: KeyValue): CacheEntry {
  const object = JSON.parse(decoder.decode(kv.value)) as KubeObject
  object.metadata.resourceVersion = String(kv.modRevision)
  return new CacheEntry(deepFreeze(object), kv.modRevision)
}
