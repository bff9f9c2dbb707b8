// Objects in the store: key layout, encoding, and one watch cache a resource.

import { clone, errors, groupResource, isConflict, type KubeObject, type ResourceKind } from '#api'
import { isStoreError, type Store, StoreErrors } from '#store'
import { type CacheEntry, decodeEntry, WatchCache } from './watch-cache.ts'

const encoder = new TextEncoder()

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
      cache.then((c) => this.#filled.set(name, c)).catch(() => {})
    }
    return cache
  }

  /**
   * The objects of a resource as they were at a revision, in order of key. Fails with Expired when that
   * is no longer known.
   */
  async entriesAt(kind: { group: string; plural: string }, namespace: string, revision: number): Promise<CacheEntry[]> {
    const prefix = `${storePrefix(kind)}${namespace ? `${namespace}/` : ''}`
    try {
      const { items } = await this.#store.list(prefix, { revision })
      return items.map(decodeEntry)
    } catch (error) {
      if (isStoreError(error, StoreErrors.compacted))
        throw errors.expired('The provided resource version is no longer available at the server.')
      throw error
    }
  }

  async create(kind: ResourceKind, object: KubeObject): Promise<KubeObject> {
    const { namespace = '', name } = object.metadata
    const cache = await this.cache(kind)
    try {
      const kv = await this.#store.create(storeKey(kind, namespace, name), encode(object))
      return cache.entry(keyIn(namespace, name))?.object ?? withRevision(object, kv.modRevision)
    } catch (error) {
      if (isStoreError(error, StoreErrors.keyExists)) throw errors.alreadyExists(kind, name)
      throw error
    }
  }

  /** The newest object. Fails with NotFound. */
  async get(kind: ResourceKind, namespace: string, name: string): Promise<KubeObject> {
    const entry = (await this.cache(kind)).entry(keyIn(namespace, name))
    if (!entry) throw errors.notFound(kind, name)
    return entry.object
  }

  /** Replaces `current` by `next` if `current` is still the newest. Fails with Conflict or NotFound. */
  async replace(kind: ResourceKind, current: KubeObject, next: KubeObject): Promise<KubeObject> {
    const { namespace = '', name } = current.metadata
    try {
      const kv = await this.#store.update(
        storeKey(kind, namespace, name),
        encode(next),
        Number(current.metadata.resourceVersion),
      )
      return withRevision(next, kv.modRevision)
    } catch (error) {
      throw this.#translate(error, kind, name)
    }
  }

  /** Removes `current` if it is still the newest. Fails with Conflict or NotFound. */
  async remove(kind: ResourceKind, current: KubeObject): Promise<KubeObject> {
    const { namespace = '', name } = current.metadata
    try {
      const { revision } = await this.#store.delete(
        storeKey(kind, namespace, name),
        Number(current.metadata.resourceVersion),
      )
      return withRevision(current, revision)
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
  ): Promise<{ object: KubeObject; removed: boolean }> {
    for (let attempt = 0; ; attempt++) {
      const current = await this.get(kind, namespace, name)
      const next = await change(current)
      if (next === current) return { object: current, removed: false }
      try {
        if (!next) return { object: await this.remove(kind, current), removed: true }
        return { object: await this.replace(kind, current, next), removed: false }
      } catch (error) {
        if (!isConflict(error) || attempt >= 20) throw error
        await moved(await this.cache(kind), keyIn(namespace, name), current)
      }
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
    return error
  }
}

/** How long a write that is not readable yet is waited for, milliseconds. */
const MOVE_PATIENCE = 1000

/**
 * Resolves when the cache shows another state than `seen`: the write that was faster is on its way to
 * the disk, and until it is there every try would fail in the same way.
 */
function moved(cache: WatchCache, key: string, seen: KubeObject): Promise<void> {
  if (cache.entry(key)?.object !== seen) return Promise.resolve()
  return new Promise((resolve) => {
    const stop = cache.subscribe((event) => {
      if (event.key === key) done()
    })
    const timer = setTimeout(done, MOVE_PATIENCE)
    function done(): void {
      clearTimeout(timer)
      stop()
      resolve()
    }
  })
}

const keyIn = (namespace: string, name: string) => (namespace ? `${namespace}/${name}` : name)

/** Bytes of a stored object at most: etcd's own limit on a request. */
const OBJECT_LIMIT = 1.5 * 1024 * 1024

function encode(object: KubeObject): Uint8Array {
  const { resourceVersion: _, ...metadata } = object.metadata
  const bytes = encoder.encode(JSON.stringify({ ...object, metadata }))
  if (bytes.length > OBJECT_LIMIT)
    throw errors.tooLarge(OBJECT_LIMIT, `the object would take ${bytes.length} bytes in the store`)
  return bytes
}

function withRevision(object: KubeObject, revision: number): KubeObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } }
}

/** A copy that may be changed. */
export function editable(object: KubeObject): KubeObject {
  return clone(object)
}
