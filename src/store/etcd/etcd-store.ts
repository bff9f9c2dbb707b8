// The store on etcd: writes are transactions guarded by revisions, one watch of everything feeds all watchers.

import { SampanError } from '#base'
import {
  ChangeFeed,
  HISTORY,
  History,
  type KeyValue,
  type ListOptions,
  type ListResult,
  type Store,
  StoreErrors,
  type StoreEvent,
  type Watch,
  type Watcher,
  type WatchOptions,
} from '#store'
import { GrpcError, type GrpcStream, type Message } from '#wire'
import { EtcdClient, type EtcdTarget } from './client.ts'
import { CompareTarget, Etcd } from './messages.ts'
import { etcdVersionProblem } from './version.ts'

/** Items a list asks for at once: a page stays far below what a message may hold. */
const PAGE = 500
/** How long etcd is waited for at the start, milliseconds. */
const START_MS = 30_000
/** How long after a broken watch the next try comes, milliseconds. */
const RETRY_MS = 100
/** How long a write waits for its own event before it is answered all the same, milliseconds. */
const ECHO_MS = 10_000

export interface EtcdStoreOptions extends EtcdTarget {
  /** Told of what a person should know: a version with faults, an endpoint that is gone. */
  warn?: (message: string) => void
}

/** Connects to etcd. Fails with Unreachable. */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<Store> {
  const client = new EtcdClient(options)
  const warn = options.warn ?? (() => {})
  try {
    // It may be starting at this very moment.
    const { answer } = await client.attempt(Etcd.status, {}, START_MS)
    const { version = '' } = answer
    const problem = etcdVersionProblem(version)
    if (problem) warn(problem)
    const { header } = await client.call(Etcd.range, { key: NOTHING, countOnly: true })
    const store = new EtcdStore(client, warn, header.revision)
    await store.start()
    return store
  } catch (error) {
    client.close()
    throw error
  }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()
/** A key nobody uses: asked for to learn the revision. */
const NOTHING = encoder.encode('\0sampan')
const ALL = Uint8Array.of(0)

/** The first key behind all that begin with a prefix. */
function prefixEnd(prefix: string): Uint8Array {
  const end = encoder.encode(prefix)
  for (let i = end.length - 1; i >= 0; i--)
    if (end[i]! < 0xff) {
      end[i]!++
      return end.subarray(0, i + 1)
    }
  return ALL
}

function toKv(kv: Message): KeyValue {
  return {
    key: decoder.decode(kv.key),
    // A copy: what is kept does not keep the whole answer.
    value: new Uint8Array(kv.value ?? 0),
    createRevision: kv.createRevision,
    modRevision: kv.modRevision,
  }
}

const isCode = (error: unknown, code: number, text: RegExp) =>
  error instanceof GrpcError && error.grpcCode === code && text.test(error.message)
const OUT_OF_RANGE = 11

class EtcdStore implements Store {
  readonly shared = true
  readonly #client: EtcdClient
  readonly #warn: (message: string) => void
  readonly #feed: ChangeFeed
  /** Whoever waits until a revision is readable here. */
  readonly #waiting = new Set<{ revision: number; resolve: () => void }>()
  #stream: GrpcStream | undefined
  #retry: ReturnType<typeof setTimeout> | undefined
  #closed = false
  readonly #writing = new Set<Promise<unknown>>()
  #asking: Promise<number> | undefined

  constructor(client: EtcdClient, warn: (message: string) => void, revision: number) {
    this.#client = client
    this.#warn = warn
    // An etcd begins at revision 1, which holds nothing.
    this.#feed = new ChangeFeed(new History(Math.max(1, revision - HISTORY)))
    this.#goal = revision
  }

  /** The revision that was newest when the store was opened. */
  readonly #goal: number

  /** Resolves when everything up to the newest revision is known here. */
  async start(): Promise<void> {
    this.#watchAll()
    await this.#shown(this.#goal)
  }

  get revision(): number {
    return this.#feed.history.newest
  }

  get oldest(): number {
    return this.#feed.history.oldest
  }

  async consistent(): Promise<void> {
    // One question serves all who ask while it has not been sent yet.
    this.#asking ??= Promise.resolve().then(async () => {
      this.#asking = undefined
      return (await this.#call(Etcd.range, { key: NOTHING, countOnly: true })).header.revision as number
    })
    await this.#shown(await this.#asking)
  }

  async create(key: string, value: Uint8Array): Promise<KeyValue> {
    const name = encoder.encode(key)
    const answer = await this.#guarded(key, {
      compare: [{ result: 0, target: CompareTarget.create, key: name, createRevision: 0 }],
      success: [{ put: { key: name, value } }],
      failure: [{ range: { key: name } }],
    })
    if (!answer.succeeded) {
      const found = answer.responses[0]?.range?.kvs?.[0]
      // An earlier try of this very call may have come through.
      // Who is told that it exists can read it.
      if (found) await this.#reached(found.modRevision)
      if (!answer.retried || !found || !sameBytes(found.value, value))
        throw new SampanError(StoreErrors.keyExists, `Cannot create ${key}: it exists`)
      return toKv(found)
    }
    const { revision } = answer.header
    await this.#reached(revision)
    return { key, value, createRevision: revision, modRevision: revision }
  }

  async update(key: string, value: Uint8Array, revision: number): Promise<KeyValue> {
    const name = encoder.encode(key)
    const answer = await this.#guarded(key, {
      compare: [{ result: 0, target: CompareTarget.mod, key: name, modRevision: revision }],
      success: [{ range: { key: name } }, { put: { key: name, value } }],
      failure: [{ range: { key: name } }],
    })
    const before = answer.responses[0]?.range?.kvs?.[0]
    if (answer.succeeded) {
      const now = answer.header.revision
      await this.#reached(now)
      return { key, value, createRevision: before.createRevision, modRevision: now }
    }
    if (answer.retried && before && sameBytes(before.value, value) && before.modRevision > revision) {
      await this.#reached(before.modRevision)
      return toKv(before)
    }
    throw await this.#lost('update', key, revision, before)
  }

  async delete(key: string, revision?: number): Promise<{ previous: KeyValue; revision: number }> {
    const name = encoder.encode(key)
    for (;;) {
      const at = revision ?? (await this.#newest(key))?.modRevision
      if (at === undefined) throw new SampanError(StoreErrors.keyMissing, `Cannot delete ${key}: it does not exist`)
      const answer = await this.#guarded(key, {
        compare: [{ result: 0, target: CompareTarget.mod, key: name, modRevision: at }],
        success: [{ deleteRange: { key: name, prevKv: true } }],
        failure: [{ range: { key: name } }],
      })
      if (answer.succeeded) {
        const now = answer.header.revision
        await this.#reached(now)
        return { previous: toKv(answer.responses[0].deleteRange.prevKvs[0]), revision: now }
      }
      // Without a revision the newest state is removed, whatever it is by now.
      if (revision !== undefined) throw await this.#lost('delete', key, revision, answer.responses[0]?.range?.kvs?.[0])
    }
  }

  async get(key: string): Promise<KeyValue | undefined> {
    const kv = await this.#newest(key)
    if (kv) await this.#shown(kv.modRevision)
    return kv
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListResult> {
    const limit = options.limit || Number.POSITIVE_INFINITY
    const rangeEnd = prefixEnd(prefix)
    const items: KeyValue[] = []
    let revision = options.revision
    let key = encoder.encode(options.from ?? prefix)
    for (;;) {
      const want = Math.min(PAGE, limit - items.length)
      const page = await this.#range(prefix, { key, rangeEnd, limit: want, ...(revision ? { revision } : {}) })
      // All pages show the state of the first.
      revision ??= page.header.revision as number
      for (const kv of page.kvs ?? []) items.push(toKv(kv))
      if (!page.more || items.length >= limit) {
        await this.#shown(revision)
        return { items, revision, more: page.more === true }
      }
      const last = page.kvs[page.kvs.length - 1].key as Uint8Array
      key = new Uint8Array(last.length + 1)
      key.set(last)
    }
  }

  watch(prefix: string, watcher: Watcher, options?: WatchOptions): Watch {
    return this.#feed.watch(prefix, watcher, options)
  }

  async compact(revision: number): Promise<void> {
    if (revision > this.revision)
      throw new SampanError(StoreErrors.futureRevision, `Cannot compact: revision ${revision} is in the future`)
    try {
      await this.#call(Etcd.compact, { revision })
    } catch (error) {
      // Another server that shares this etcd was first.
      if (!isCode(error, OUT_OF_RANGE, /compacted/)) throw error
    }
    this.#feed.history.forget(revision)
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#retry)
    // What was asked for is answered: nobody is left not knowing whether it took place.
    await Promise.allSettled([...this.#writing])
    this.#feed.end()
    this.#stream?.cancel()
    this.#client.close()
    for (const { resolve } of [...this.#waiting]) resolve()
  }

  async #newest(key: string): Promise<KeyValue | undefined> {
    const { kvs } = await this.#call(Etcd.range, { key: encoder.encode(key) })
    return kvs?.[0] && toKv(kvs[0])
  }

  async #range(prefix: string, request: Message): Promise<Message> {
    try {
      return await this.#call(Etcd.range, request)
    } catch (error) {
      if (isCode(error, OUT_OF_RANGE, /compacted/))
        throw new SampanError(StoreErrors.compacted, `Cannot list ${prefix}: revision ${request.revision} is compacted`)
      if (isCode(error, OUT_OF_RANGE, /future/))
        throw new SampanError(
          StoreErrors.futureRevision,
          `Cannot list ${prefix}: revision ${request.revision} is in the future`,
        )
      throw error
    }
  }

  #call(method: (typeof Etcd)[keyof typeof Etcd], request: Message): Promise<Message> {
    try {
      this.#check()
    } catch (error) {
      return Promise.reject(error)
    }
    return this.#client.call(method, request)
  }

  #check(): void {
    if (this.#closed) throw new SampanError(StoreErrors.closed, 'Cannot use the store: it is closed')
  }

  /**
   * A transaction that may be sent again: its guard lets only one of the tries through. `retried` tells that
   * a failed guard may be the work of an earlier try.
   */
  async #guarded(key: string, txn: Message): Promise<Message & { retried: boolean }> {
    for (let attempt = 0; ; attempt++) {
      try {
        this.#check()
        const writing = this.#client.attempt(Etcd.txn, txn)
        this.#writing.add(writing)
        const { answer, tries } = await writing.finally(() => this.#writing.delete(writing))
        return { ...answer, retried: attempt > 0 || tries > 1 }
      } catch (error) {
        const full = error instanceof GrpcError && /database space exceeded/.test(error.message)
        if (full)
          throw new SampanError(
            StoreErrors.notDurable,
            `Cannot write ${key}: etcd's database is full; compact and defragment it, then disarm its NOSPACE alarm`,
            { cause: error },
          )
        // A leader on its way out does not say whether it has done what was asked.
        const changing = error instanceof GrpcError && /leader changed|no leader|timed out/.test(error.message)
        if (!changing || attempt >= 10) throw error
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS * (attempt + 1)))
      }
    }
  }

  /** Why a guard failed, once what was there instead is readable here. */
  async #lost(verb: string, key: string, revision: number, found: Message | undefined): Promise<SampanError> {
    if (!found) {
      // The deletion must be visible to who is told of it.
      await this.consistent()
      return new SampanError(StoreErrors.keyMissing, `Cannot ${verb} ${key}: it does not exist`)
    }
    await this.#reached(found.modRevision)
    return new SampanError(
      StoreErrors.conflict,
      `Cannot ${verb} ${key}: it is at revision ${found.modRevision}, not ${revision}`,
    )
  }

  /** Whether watchers here have seen everything up to a revision, once they have or have taken too long. */
  #reached(revision: number): Promise<boolean> {
    const there = () => revision <= this.#feed.history.newest
    if (there() || this.#closed) return Promise.resolve(there())
    return new Promise((resolve) => {
      const waiter = { revision, resolve: done }
      const timer = setTimeout(done, ECHO_MS)
      const waiting = this.#waiting
      function done(): void {
        clearTimeout(timer)
        waiting.delete(waiter)
        resolve(there())
      }
      waiting.add(waiter)
    })
  }

  /** Fails with Unreachable when a revision is not shown here in time: what is read would be of the past. */
  async #shown(revision: number): Promise<void> {
    if (!(await this.#reached(revision)) && !this.#closed)
      throw new SampanError(
        StoreErrors.unreachable,
        `Cannot read revision ${revision}: the watch of etcd at ${this.#client.endpoint} stands at ${this.revision}`,
      )
  }

  /** Opens the watch of every key behind what is known. */
  #watchAll(): void {
    const start = this.#feed.history.newest + 1
    let over = false
    const stream = this.#client.stream(Etcd.watch, {
      onMessage: (response) => {
        if (over) return
        if (response.canceled) {
          over = true
          if (response.compactRevision) this.#overtaken(response.compactRevision)
          else this.#warn(`etcd ended a watch: ${response.cancelReason || 'no reason given'}`)
          stream.cancel()
          return
        }
        this.#deliver(response)
      },
      onEnd: (error) => {
        if (this.#closed) return
        if (error && !over) this.#warn(`the watch of etcd broke: ${error.message}`)
        this.#retry = setTimeout(() => this.#watchAll(), RETRY_MS)
      },
    })
    stream.send({ create: { key: ALL, rangeEnd: ALL, startRevision: start, prevKv: true } })
    this.#stream = stream
  }

  #deliver(response: Message): void {
    const events: StoreEvent[] = []
    for (const e of response.events ?? []) {
      const previous = e.prevKv && toKv(e.prevKv)
      const now = toKv(e.kv)
      // A watch that was opened again may repeat what it had shown.
      if (now.modRevision <= this.#feed.history.newest) continue
      events.push({
        type: e.type === 1 ? 'delete' : 'put',
        revision: now.modRevision,
        kv: e.type === 1 ? (previous ?? now) : now,
        ...(previous ? { previous } : {}),
      })
    }
    if (events.length > 0) this.#feed.show(events)
    this.#wake()
  }

  #wake(): void {
    for (const { revision, resolve } of [...this.#waiting]) if (revision <= this.#feed.history.newest) resolve()
  }

  /** What happened up to `revision` cannot be learnt any more: whoever watches must list again. */
  #overtaken(revision: number): void {
    // Of its events some may be gone already: what is known begins behind it.
    this.#feed.history.restart(revision)
    this.#wake()
    const error = new SampanError(
      StoreErrors.compacted,
      `Cannot go on watching: etcd has forgotten what happened before revision ${revision}`,
    )
    this.#feed.end(error)
  }
}

const sameBytes = (a: Uint8Array | undefined, b: Uint8Array) => a !== undefined && Buffer.compare(a, b) === 0
