// An informer: a local copy of a resource, kept by list and watch, with handlers and indexes.

import { isExpired, type KubeObject, keyOf, type Resource } from '#api'
import { type Clock, Emitter, type Log, messageOf, sleep } from '#base'
import type { Client } from './contract.ts'

/** A change of the local copy. */
export interface Change {
  readonly type: 'added' | 'updated' | 'deleted'
  readonly object: KubeObject
  readonly old?: KubeObject
}

export type Indexer = (object: KubeObject) => readonly string[]

/** Read access to the local copy. */
export interface Lister {
  get(key: string): KubeObject | undefined
  list(namespace?: string): KubeObject[]
  /** Objects an indexer put under `value`. */
  byIndex(index: string, value: string): KubeObject[]
}

export class Informer implements Lister {
  readonly resource: Resource
  readonly #client: Client
  readonly #clock: Clock
  readonly #log: Log
  readonly #objects = new Map<string, KubeObject>()
  readonly #changes = new Emitter<Change>()
  readonly #indexers = new Map<string, Indexer>()
  readonly #indexes = new Map<string, Map<string, Set<string>>>()
  #running: Promise<void> | undefined
  #synced = false
  #onSynced: (() => void)[] = []

  constructor(resource: Resource, client: Client, clock: Clock, log: Log) {
    this.resource = resource
    this.#client = client
    this.#clock = clock
    this.#log = log
  }

  get(key: string): KubeObject | undefined {
    return this.#objects.get(key)
  }

  list(namespace = ''): KubeObject[] {
    const all = [...this.#objects.values()]
    return namespace ? all.filter((o) => o.metadata.namespace === namespace) : all
  }

  byIndex(index: string, value: string): KubeObject[] {
    const keys = this.#indexes.get(index)?.get(value)
    if (!keys) return []
    const found: KubeObject[] = []
    for (const key of keys) {
      const object = this.#objects.get(key)
      if (object) found.push(object)
    }
    return found
  }

  /** Adds an index; objects already here are indexed too. */
  addIndex(name: string, indexer: Indexer): void {
    if (this.#indexers.has(name)) return
    this.#indexers.set(name, indexer)
    this.#indexes.set(name, new Map())
    for (const [key, object] of this.#objects) this.#index(name, indexer, key, undefined, object)
  }

  /** Calls `handler` for every object here and for every change. */
  on(handler: (change: Change) => void): () => void {
    for (const object of this.#objects.values()) handler({ type: 'added', object })
    return this.#changes.on(handler)
  }

  /** Resolves once the first list is here. */
  synced(): Promise<void> {
    if (this.#synced) return Promise.resolve()
    return new Promise((resolve) => this.#onSynced.push(resolve))
  }

  /** Keeps the copy until `signal` aborts. */
  start(signal: AbortSignal): void {
    this.#running ??= this.#run(signal)
  }

  async #run(signal: AbortSignal): Promise<void> {
    let delay = 100
    while (!signal.aborted) {
      try {
        const { items, resourceVersion } = await this.#client.list(this.resource)
        this.#replace(items)
        delay = 100
        await this.#watch(resourceVersion, signal)
      } catch (error) {
        if (signal.aborted) return
        if (!isExpired(error)) {
          this.#log.warn('watch lost, listing again', { resource: this.resource.plural, error: messageOf(error) })
          await sleep(this.#clock, delay, signal)
          delay = Math.min(delay * 2, 10_000)
        }
      }
    }
  }

  #watch(resourceVersion: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const watch = this.#client.watch(this.resource, resourceVersion, {
        onEvent: (type, object) => (type === 'DELETED' ? this.#remove(object) : this.#set(object)),
        onEnd: (error) => {
          signal.removeEventListener('abort', stop)
          if (error) reject(error)
          else resolve()
        },
      })
      const stop = () => {
        watch.close()
        resolve()
      }
      signal.addEventListener('abort', stop, { once: true })
    })
  }

  #replace(items: readonly KubeObject[]): void {
    const keys = new Set(items.map(keyOf))
    for (const [key, object] of this.#objects) if (!keys.has(key)) this.#remove(object)
    for (const item of items)
      if (this.#objects.get(keyOf(item))?.metadata.resourceVersion !== item.metadata.resourceVersion) this.#set(item)
    this.#synced = true
    for (const resolve of this.#onSynced.splice(0)) resolve()
  }

  #set(object: KubeObject): void {
    const key = keyOf(object)
    const old = this.#objects.get(key)
    this.#objects.set(key, object)
    for (const [name, indexer] of this.#indexers) this.#index(name, indexer, key, old, object)
    this.#changes.emit(old ? { type: 'updated', object, old } : { type: 'added', object })
  }

  #remove(object: KubeObject): void {
    const key = keyOf(object)
    const old = this.#objects.get(key)
    if (!old) return
    this.#objects.delete(key)
    for (const [name, indexer] of this.#indexers) this.#index(name, indexer, key, old, undefined)
    this.#changes.emit({ type: 'deleted', object, old })
  }

  #index(name: string, indexer: Indexer, key: string, old: KubeObject | undefined, next: KubeObject | undefined): void {
    const index = this.#indexes.get(name)!
    if (old)
      for (const value of indexer(old)) {
        const keys = index.get(value)
        keys?.delete(key)
        if (keys?.size === 0) index.delete(value)
      }
    if (next)
      for (const value of indexer(next)) {
        const keys = index.get(value)
        if (keys) keys.add(key)
        else index.set(value, new Set([key]))
      }
  }
}

/** One informer a resource, shared by everybody who asks. */
export class Informers {
  readonly client: Client
  readonly clock: Clock
  readonly #log: Log
  readonly #signal: AbortSignal
  readonly #informers = new Map<string, Informer>()

  constructor(client: Client, clock: Clock, log: Log, signal: AbortSignal) {
    this.client = client
    this.clock = clock
    this.#log = log
    this.#signal = signal
  }

  /** The informer of a resource, started. */
  for(resource: Resource): Informer {
    const key = `${resource.group}/${resource.plural}`
    let informer = this.#informers.get(key)
    if (!informer) {
      informer = new Informer(resource, this.client, this.clock, this.#log)
      this.#informers.set(key, informer)
      informer.start(this.#signal)
    }
    return informer
  }

  /** Resolves once every informer asked for so far has its first list. */
  async synced(): Promise<void> {
    await Promise.all([...this.#informers.values()].map((i) => i.synced()))
  }
}
