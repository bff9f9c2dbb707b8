// Objects in the store: key layout, encoding, and one watch cache a resource.

import { clone, errors, field, groupResource, isConflict, type KubeObject, type ResourceKind } from '#api'
import { isStoreError, type Store, StoreErrors } from '#store'
import { CacheEntry, encodeObject } from './cache-entry.ts'
import { WatchCache } from './watch-cache.ts'

/** Where an object lives: "/registry/<group>/<plural>/<namespace>/<name>"; cluster scope has no namespace. */
export function storeKey(kind: { group: string; plural: string }, namespace: string, name: string): string {
  return `${storePrefix(kind)}${namespace ? `${namespace}/` : ''}${name}`
}

export function storePrefix(kind: { group: string; plural: string }): string {
  return `/registry/${kind.group || 'core'}/${kind.plural}/`
}

/** Reads and writes whole objects. Knows nothing of what a kind means. */
export class ObjectStore {
  readonly #store: Store
  readonly #caches = new Map<string, Promise<WatchCache>>()
  readonly #filled = new Map<string, WatchCache>()

  constructor(store: Store) {
    this.#store = store
  }

  get revision(): number {
    return this.#store.revision
  }

  /** The store itself, if other servers write to it too. */
  get sharedStore(): Store | undefined {
    return this.#store.shared ? this.#store : undefined
  }

  /** How many objects of each resource there are, as far as they are cached. */
  counts(): (readonly [resource: string, count: number])[] {
    return [...this.#filled]
      .map(([resource, cache]) => [resource, cache.size] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1))
  }

  /** The watch cache of a resource, filled on first use. */
  cache(kind: { group: string; plural: string }): Promise<WatchCache> {
    const name = groupResource(kind)
    let cache = this.#caches.get(name)
    if (!cache) {
      cache = WatchCache.open(this.#store, storePrefix(kind))
      this.#caches.set(name, cache)
      // One that could not be filled is tried again by who asks next.
      cache.then((c) => this.#filled.set(name, c)).catch(() => this.#caches.delete(name))
    }
    return cache
  }

  /**
   * The objects of a resource as they were at a revision, by key and in its order, from a key on. Fails with
   * Expired when that is no longer known.
   */
  async entriesAt(
    kind: { group: string; plural: string },
    namespace: string,
    start: string,
    revision: number,
  ): Promise<[key: string, entry: CacheEntry][]> {
    const prefix = storePrefix(kind)
    try {
      const { items } = await this.#store.list(`${prefix}${namespace ? `${namespace}/` : ''}`, {
        revision,
        ...(start ? { from: prefix + start } : {}),
      })
      return items.map((kv) => [kv.key.slice(prefix.length), CacheEntry.of(kv)])
    } catch (error) {
      if (isStoreError(error, StoreErrors.compacted))
        throw errors.expired('The provided resource version is no longer available at the server.')
      throw error
    }
  }

  /** Resolves when everything acknowledged before, through whichever server, can be read here. */
  consistent(): Promise<void> | undefined {
    return this.#store.shared ? this.#translated(this.#store.consistent()) : undefined
  }

  async create(kind: ResourceKind, object: KubeObject): Promise<CacheEntry> {
    const { namespace = '', name } = object.metadata
    const bytes = encode(object)
    const key = storeKey(kind, namespace, name)
    if (key.length > KEY_LIMIT)
      throw errors.invalid(kind.kind, kind.group, name.slice(0, 63), [field.tooLong('metadata.name', NAME_LIMIT)])
    try {
      const { modRevision } = await this.#store.create(key, bytes)
      return new CacheEntry(bytes, modRevision, object)
    } catch (error) {
      if (isStoreError(error, StoreErrors.keyExists)) throw errors.alreadyExists(kind, name)
      throw translated(error)
    }
  }

  /** The newest object. Fails with NotFound. */
  async get(kind: ResourceKind, namespace: string, name: string): Promise<CacheEntry> {
    const entry = (await this.cache(kind)).entry(keyIn(namespace, name))
    if (!entry) throw errors.notFound(kind, name)
    return entry
  }

  /** Replaces `current` by `next` if `current` is still the newest. Fails with Conflict or NotFound. */
  async replace(kind: ResourceKind, current: CacheEntry, next: KubeObject): Promise<CacheEntry> {
    const { namespace = '', name } = next.metadata
    const bytes = encode(next)
    try {
      const { modRevision } = await this.#store.update(storeKey(kind, namespace, name), bytes, current.revision)
      return new CacheEntry(bytes, modRevision, next)
    } catch (error) {
      throw this.#translate(error, kind, name)
    }
  }

  /** Removes `current` if it is still the newest. Fails with Conflict or NotFound. */
  async remove(kind: ResourceKind, current: CacheEntry): Promise<CacheEntry> {
    const { namespace = '', name } = current.passing.metadata
    try {
      const { revision } = await this.#store.delete(storeKey(kind, namespace, name), current.revision)
      return current.at(revision)
    } catch (error) {
      throw this.#translate(error, kind, name)
    }
  }

  /**
   * Reads, lets `change` compute the next state, writes; again when somebody else was faster.
   * `change` returns the same object to write nothing, undefined to remove it.
   */
  async modify(
    kind: ResourceKind,
    namespace: string,
    name: string,
    change: (current: KubeObject) => KubeObject | undefined | Promise<KubeObject | undefined>,
  ): Promise<{ entry: CacheEntry; removed: boolean }> {
    await this.consistent()
    for (let attempt = 0; ; attempt++) {
      const current = await this.get(kind, namespace, name)
      const object = current.passing
      const next = await change(object)
      if (next === object) return { entry: current, removed: false }
      try {
        if (!next) return { entry: await this.remove(kind, current), removed: true }
        return { entry: await this.replace(kind, current, next), removed: false }
      } catch (error) {
        if (!isConflict(error) || attempt >= 20) throw error
      }
    }
  }

  async #translated<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      throw translated(error)
    }
  }

  #translate(error: unknown, kind: ResourceKind, name: string): unknown {
    if (isStoreError(error, StoreErrors.keyMissing)) return errors.notFound(kind, name)
    if (isStoreError(error, StoreErrors.conflict))
      return errors.conflict(
        kind,
        name,
        'the object has been modified; please apply your changes to the latest version and try again',
      )
    return translated(error)
  }
}

/** What a client is told of a store that cannot be used now: to come again. */
export function translated(error: unknown): unknown {
  if (isStoreError(error, StoreErrors.notDurable) || isStoreError(error, StoreErrors.unreachable))
    return errors.unavailable((error as Error).message)
  return error
}

const keyIn = (namespace: string, name: string) => (namespace ? `${namespace}/${name}` : name)

/** Characters of a key, and of a name, at most. */
const KEY_LIMIT = 4096
const NAME_LIMIT = 2048

/** Bytes of a stored object at most: etcd's own limit on a request. */
const OBJECT_LIMIT = 1.5 * 1024 * 1024

function encode(object: KubeObject): Uint8Array {
  const bytes = encodeObject(object)
  if (bytes.length > OBJECT_LIMIT)
    throw errors.tooLarge(OBJECT_LIMIT, `the object would take ${bytes.length} bytes in the store`)
  return bytes
}

/** A copy that may be changed. */
export function editable(object: KubeObject): KubeObject {
  return clone(object)
}
