// One proxy's stream: takes its requests and sends it what it is behind with, in an order that breaks nothing.

import type { ServerCall } from '#wire'
import { GrpcCode, type Message } from '#wire'
import { identify, mismatch, type ProxyIdentity, type ProxyUser } from './identity.ts'
import { type EncodedLayer, KINDS, type Kind, type ResourceSet } from './resource-set.ts'
import { responseParts } from './response.ts'
import { Subscription } from './subscription.ts'

export interface ConnectionOptions {
  readonly call: ServerCall
  readonly user: ProxyUser
  readonly delta: boolean
  /** A name that no other connection has. */
  readonly id: string
  layers(proxy: ProxyIdentity): readonly EncodedLayer[]
  refuse(proxy: ProxyIdentity): string | undefined
  /** A proxy that is not refused is here; a reason, with gRPC's code, sends it away all the same. */
  admit(connection: Connection): { code: number; reason: string } | undefined
  onAnswer(proxy: ProxyIdentity, url: string, message: string): void
  /** A request for something that is not of the mesh's resources; true when it was taken. */
  onOther(connection: Connection, request: Message): boolean
  onError(proxy: ProxyIdentity, error: unknown): void
  /** How often something has changed so far. */
  mark(): number
  /** It asks for a kind for the first time. */
  onSubscribe(connection: Connection, kind: Kind): void
  /** It has acknowledged something. */
  onProgress(connection: Connection): void
}

/** Routes and listeners wait so long for a proxy to ask for the endpoints of clusters that are new to it. */
const WARMING_MS = 500

export class Connection {
  readonly #options: ConnectionOptions
  readonly #subscriptions = new Map<Kind, Subscription>()
  proxy: ProxyIdentity | undefined
  readonly connectedAt = new Date().toISOString()
  #nonce = 0
  #open = true
  #admitted = false
  #warming: NodeJS.Timeout | undefined
  /** The endpoints that this proxy has been found to have asked for. */
  #warm: readonly ResourceSet[] = []
  /** Clusters whose endpoints are waited for, and those for which they were in vain. */
  readonly #missing = new Set<string>()
  readonly #givenUp = new Set<string>()

  constructor(options: ConnectionOptions) {
    this.#options = options
  }

  get id(): string {
    return this.#options.id
  }

  get user(): ProxyUser {
    return this.#options.user
  }

  get subscriptions(): readonly Subscription[] {
    return [...this.#subscriptions.values()]
  }

  /** Whether it has asked for endpoints. */
  get usesEndpoints(): boolean {
    return this.#subscriptions.has('endpoints')
  }

  /** The endpoints of a mark, or newer ones, are acknowledged; what is not asked for cannot be. */
  isSettled(mark: number): boolean {
    const endpoints = this.#subscriptions.get('endpoints')
    if (!this.#open || !this.proxy || !endpoints) return true
    return endpoints.hasAnswered(mark, this.#options.layers(this.proxy))
  }

  /** Everything of a mark, or newer, that it asked for is sent and answered. */
  isCaughtUp(mark: number): boolean {
    if (!this.#open || !this.proxy) return true
    const layers = this.#options.layers(this.proxy)
    return this.subscriptions.every((s) => s.hasAnswered(mark, layers) && !s.holding)
  }

  close(): void {
    this.#open = false
    clearTimeout(this.#warming)
  }

  /** Sends the proxy away. */
  end(code: number, reason: string): void {
    this.close()
    this.#options.call.end(code, reason)
  }

  /** Sends a message that is not one of the mesh's resources. */
  send(message: Message): void {
    this.#options.call.send({ ...message, nonce: String(++this.#nonce) })
  }

  receive(request: Message): void {
    if (!this.#open) return
    if (request.node && !this.proxy) this.proxy = identify(request.node, this.#options.user)
    if (this.#options.onOther(this, request)) return
    const entry = KINDS.find((k) => k.url === request.type_url)
    if (!entry || !this.proxy) return
    const refusal = this.#options.refuse(this.proxy) ?? mismatch(this.proxy)
    if (refusal) return this.end(GrpcCode.permissionDenied, refusal)
    if (!this.#admitted) {
      const problem = this.#options.admit(this)
      if (problem) return this.end(problem.code, problem.reason)
      this.#admitted = true
    }
    let s = this.#subscriptions.get(entry.kind)
    if (!s) {
      const { metadata, role } = this.proxy
      const clusters = metadata.ON_DEMAND === 'true'
      // Who asks a gateway for hosts is anybody.
      const hosts = clusters && role === 'sidecar'
      const listeners = metadata.ON_DEMAND_LISTENERS === 'true' && role === 'sidecar'
      s = new Subscription(entry.kind, entry.url, this.#options.delta, { clusters, hosts, listeners })
      this.#subscriptions.set(entry.kind, s)
      this.#options.onSubscribe(this, entry.kind)
    }
    const { acked } = s
    const asks = this.#options.delta ? s.requestDelta(request) : s.request(request)
    if (request.response_nonce && request.response_nonce === s.nonce) {
      this.#options.onAnswer(this.proxy, entry.url, s.error)
    }
    if (!asks && !request.response_nonce && acked === s.acked) return
    try {
      this.push()
    } catch (error) {
      // What it asked for is noted: it is sent with the next push.
      this.#options.onError(this.proxy, error)
    }
    if (request.response_nonce) this.#options.onProgress(this)
  }

  /**
   * Sends what this proxy is behind with. What comes later in the order waits until what came before is acknowledged,
   * and a cluster goes only when no route in use can name it: make before break.
   */
  push(): void {
    if (!this.#open || !this.proxy) return
    const layers = this.#options.layers(this.proxy)
    // Clusters and endpoints that are under way: what names them waits. Endpoints do not wait for clusters, whose
    // acknowledgement an Envoy withholds until it has their endpoints.
    let underWay = false
    for (const { kind } of KINDS) {
      const s = this.#subscriptions.get(kind)
      if (!s) continue
      const named = kind === 'clusters' || kind === 'endpoints'
      // One answer at a time: a storm of changes becomes the last of them.
      if (!s.answered) {
        underWay ||= named
        continue
      }
      if ((kind === 'listeners' || kind === 'routes') && (underWay || this.#awaitsEndpoints(layers))) return
      const next = s.next(layers, kind === 'clusters' && this.#namedByOthers(layers))
      if (!next) continue
      underWay ||= named
      // A cluster that changed is warmed again: its endpoints are told again.
      if (kind === 'clusters') this.#subscriptions.get('endpoints')?.refresh(next.changed.map((r) => r.name))
      s.send(String(++this.#nonce), this.#options.mark())
      const { resources, removed } = next
      const { call, delta } = this.#options
      call.sendParts(responseParts({ url: s.url, nonce: s.nonce, delta, resources, removed }))
    }
  }

  /** Listeners or routes in use may still name clusters that are gone. */
  #namedByOthers(layers: readonly EncodedLayer[]): boolean {
    return (['listeners', 'routes'] as const).some((kind) => {
      const s = this.#subscriptions.get(kind)
      return s !== undefined && (!s.answered || s.isBehind(layers))
    })
  }

  /** Clusters came whose endpoints the proxy has not asked for yet: it will in a moment. */
  #awaitsEndpoints(layers: readonly EncodedLayer[]): boolean {
    const endpoints = this.#subscriptions.get('endpoints')
    const clusters = this.#subscriptions.get('clusters')
    if (!endpoints || !clusters) return false
    const sets = layers.map((layer) => layer.endpoints)
    if (sets.every((set, i) => set === this.#warm[i])) return false
    const missing = sets.flatMap((set) =>
      [...set.values()].filter(
        (r) => clusters.wants(r.name, r.host) && !endpoints.wants(r.name, r.host) && !this.#givenUp.has(r.name),
      ),
    )
    if (missing.length === 0) {
      clearTimeout(this.#warming)
      this.#warming = undefined
      this.#warm = sets
      return false
    }
    for (const { name } of missing) this.#missing.add(name)
    // Changes that come meanwhile do not make it longer.
    this.#warming ??= setTimeout(() => {
      this.#warming = undefined
      for (const name of this.#missing) this.#givenUp.add(name)
      this.#missing.clear()
      this.push()
    }, WARMING_MS).unref()
    return true
  }
}
