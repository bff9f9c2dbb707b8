// The ADS server: state of the world and delta. Knows who is connected and when everybody has caught up.

import { deltaAggregatedResources, streamAggregatedResources } from '#api/xds'
import { type Clock, type Log, systemClock } from '#base'
import type { ServerCall } from '#wire'
import { GrpcCode, type Message } from '#wire'
import { AbsentProxies } from './absent-proxies.ts'
import { Connection } from './connection.ts'
import type { ProxyIdentity, ProxyUser } from './identity.ts'
import type { EncodedLayer } from './resource-set.ts'

export interface AdsOptions {
  readonly log: Log
  readonly clock?: Clock
  /** The resources of a proxy as the cluster is now. */
  layers(proxy: ProxyIdentity): readonly EncodedLayer[]
  /** The user behind a call's token; undefined refuses the call. */
  authenticate(call: ServerCall): Promise<ProxyUser | undefined> | undefined
  /** Why a proxy is not served; "" when it is for certain, undefined leaves it to its token. */
  refuse?(proxy: ProxyIdentity): string | undefined
  /** A proxy that is not refused is here; a reason, with gRPC's code, sends it away all the same. */
  admit?(connection: Connection): { code: number; reason: string } | undefined
  /** A proxy has answered: with the reason of a refusal, or "" when it took what it was sent. */
  onAnswer(proxy: ProxyIdentity, url: string, message: string): void
  onOther?(connection: Connection, request: Message): boolean
  /** Whether a proxy that has gone, by its name, runs on: it is expected back. Nobody is without it. */
  runs?(id: string): boolean
  /** A proxy has gone. */
  onGone?(connection: Connection, proxy: ProxyIdentity): void
}

/** So many proxies are looked at in one turn of the event loop. */
const BATCH = 50

export class AdsServer {
  readonly #options: AdsOptions
  readonly #connections = new Set<Connection>()
  readonly #absent: AbsentProxies
  /** Those who wait for proxies; they are told which one has answered, or nothing when any may have. */
  readonly #waiters = new Set<(connection?: Connection) => void>()
  /** How often something has changed: what is sent at a mark has all that there was when it began. */
  #mark = 1
  #count = 0
  #pushing: Promise<void> | undefined
  #again = false

  constructor(options: AdsOptions) {
    this.#options = options
    this.#absent = new AbsentProxies(options.clock ?? systemClock)
  }

  get methods() {
    return [
      { method: streamAggregatedResources, handle: (call: ServerCall) => void this.#accept(call, false) },
      { method: deltaAggregatedResources, handle: (call: ServerCall) => void this.#accept(call, true) },
    ]
  }

  /** Streams that have begun so far. */
  get accepted(): number {
    return this.#count
  }

  get connections(): ReadonlySet<Connection> {
    return this.#connections
  }

  /** Something changed: every proxy is looked at again. Resolves when all have been. */
  push(): Promise<void> {
    this.#mark++
    if (this.#pushing) {
      this.#again = true
      return this.#pushing
    }
    this.#pushing = this.#pushAll().finally(() => {
      this.#pushing = undefined
    })
    return this.#pushing
  }

  async #pushAll(): Promise<void> {
    do {
      this.#again = false
      let n = 0
      for (const connection of [...this.#connections]) {
        try {
          connection.push()
        } catch (error) {
          this.#failed(connection.proxy, error)
        }
        if (++n % BATCH === 0) await new Promise((resolve) => setImmediate(resolve))
      }
    } while (this.#again)
    this.#look()
  }

  /** A proxy that has not come yet, but runs: it knows what a server before this one told it. */
  expect(id: string): void {
    this.#absent.left(id)
  }

  /**
   * Resolves when every proxy that is connected has acknowledged the endpoints of the last push, whatever else changes
   * meanwhile, and one that is expected back has come and done so.
   */
  async settled(): Promise<void> {
    await this.#absent.returned((id) => this.#runs(id))
    return this.#until((c, mark) => c.isSettled(mark))
  }

  #runs(id: string): boolean {
    return this.#options.runs?.(id) ?? false
  }

  /** Whether a proxy has asked for endpoints on a connection that is open. */
  #isHere(id: string): boolean {
    return [...this.#connections].some((c) => c.usesEndpoints && c.proxy?.id === id)
  }

  /** The proxies that have not acknowledged the endpoints of now, by name. */
  get behind(): string[] {
    return [...this.#connections]
      .filter((c) => !this.#isDone((x) => x.isSettled(this.#mark), c))
      .map((c) => c.proxy!.id)
  }

  /** Resolves when every connected proxy has acknowledged everything of the last push that it asked for. */
  caughtUp(): Promise<void> {
    return this.#until((c, mark) => c.isCaughtUp(mark))
  }

  async #until(done: (connection: Connection, mark: number) => boolean): Promise<void> {
    const mark = this.#mark
    const isDone = (connection: Connection) => this.#isDone((c) => done(c, mark), connection)
    // Those found done once need not be looked at again.
    const open = [...this.#connections].filter((c) => !isDone(c))
    const settled = () => {
      while (open.length > 0 && isDone(open.at(-1)!)) open.pop()
      return open.length === 0
    }
    if (settled()) return
    await new Promise<void>((resolve) => {
      const look = (connection?: Connection) => {
        if ((connection && connection !== open.at(-1)) || !settled()) return
        this.#waiters.delete(look)
        resolve()
      }
      this.#waiters.add(look)
    })
  }

  /** A proxy for which nothing can be made is not waited for. */
  #isDone(done: (connection: Connection) => boolean, connection: Connection): boolean {
    try {
      return done(connection)
    } catch (error) {
      this.#failed(connection.proxy, error)
      return true
    }
  }

  #failed(proxy: ProxyIdentity | undefined, error: unknown): void {
    this.#options.log.error('push failed', { proxy: proxy?.id, error: error instanceof Error ? error.stack : error })
  }

  #look(connection?: Connection): void {
    for (const look of [...this.#waiters]) look(connection)
  }

  async #accept(call: ServerCall, delta: boolean): Promise<void> {
    const early: Message[] = []
    let closed = false
    call.onMessage = (m) => early.push(m)
    call.onClose = () => {
      closed = true
    }
    const user = await this.#options.authenticate(call)
    // It may have gone while its token was looked at.
    if (closed) return
    if (!user)
      return call.end(GrpcCode.unauthenticated, 'a service-account token for the audience istio-ca is required')
    const { layers, refuse, admit, onAnswer, onOther, onGone } = this.#options
    const connection = new Connection({
      call,
      user,
      delta,
      id: `${call.peer}-${++this.#count}`,
      layers,
      refuse: refuse ?? (() => undefined),
      admit: admit ?? (() => undefined),
      onAnswer,
      onOther: onOther ?? (() => false),
      onError: (proxy, error) => this.#failed(proxy, error),
      onSubscribe: ({ proxy }, kind) => kind === 'endpoints' && this.#absent.back(proxy?.id ?? ''),
      mark: () => this.#mark,
      onProgress: (progressed) => this.#look(progressed),
    })
    this.#connections.add(connection)
    call.onClose = () => {
      connection.close()
      this.#connections.delete(connection)
      const { proxy, usesEndpoints } = connection
      if (proxy) onGone?.(connection, proxy)
      if (proxy && usesEndpoints && this.#runs(proxy.id) && !this.#isHere(proxy.id)) this.#absent.left(proxy.id)
      this.#look()
    }
    call.onEnd = () => call.end()
    call.onMessage = (m) => connection.receive(m)
    for (const m of early) connection.receive(m)
  }
}
