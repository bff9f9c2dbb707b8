// What one proxy has asked for of one type, what it was sent and what it has said to it. Pure state
// (envoyproxy.io, xds_protocol.rst).

import type { Message } from '#wire'
import { difference, type EncodedLayer, find, hostOf, type Kind, type WireResource } from './resource-set.ts'
import { RouteView } from './route-parts.ts'

/** What is to be sent: resources, and names that are gone. */
export interface Outgoing {
  readonly resources: readonly WireResource[]
  readonly removed: readonly string[]
  /** Those of the resources that are new or others. */
  readonly changed: readonly WireResource[]
}

/** Of more clusters than this a client that can ask for them is told those that it asks for. */
const MANY = 250

/** What a client asks for when it needs it, and is not told before. */
export interface OnDemand {
  readonly clusters: boolean
  /** Hosts of route tables. */
  readonly hosts: boolean
  /** Listeners of single addresses. */
  readonly listeners: boolean
}

const NONE: OnDemand = { clusters: false, hosts: false, listeners: false }

export class Subscription {
  readonly kind: Kind
  readonly url: string
  readonly delta: boolean
  /** Names asked for; undefined is everything. */
  #names: Set<string> | undefined
  /** Names asked for since the last sending, or never sent: they get an answer whatever it is. */
  readonly #fresh = new Set<string>()
  /** Those of them that were not asked for: nothing is said of one that is not there. */
  readonly #refreshed = new Set<string>()
  #first = true
  /** A request has come. */
  #asked = false
  /** The layers that the last sending was made from. */
  #sent: readonly EncodedLayer[] = []
  /** Versions a client of the delta protocol has from before; they need not be sent again. */
  #known: ReadonlyMap<string, string> = new Map()
  readonly #onDemand: boolean
  /**
   * What was asked for: hosts one of whose clusters was (all of theirs are told, so that a new route finds them there),
   * or listeners.
   */
  readonly #hosts = new Set<string>()
  /** Those of them that were first asked for since the last sending. */
  readonly #newHosts = new Set<string>()
  /** Whether others are left out. */
  #narrow = false
  readonly #hostsOnDemand: boolean
  /** Route tables as they are told in parts, once there is too much to tell. */
  #view: RouteView | undefined
  /** How many requests have come. */
  #requests = 0
  /** Resources that are gone from the layers but not from the proxy: something may still name them. */
  readonly #held = new Map<string, WireResource>()
  nonce = ''
  /** The mark of what is on its way, and of the last that was answered: marks only grow. */
  #sentMark = 0
  #answeredMark = 0
  /** The nonce last accepted. */
  acked = ''
  error = ''

  constructor(kind: Kind, url: string, delta: boolean, onDemand: OnDemand = NONE) {
    this.kind = kind
    this.url = url
    this.delta = delta
    this.#onDemand =
      delta && ((kind === 'clusters' && onDemand.clusters) || (kind === 'listeners' && onDemand.listeners))
    this.#hostsOnDemand = onDemand.hosts && delta && kind === 'routes'
  }

  /** The layers as this client is to see them. */
  #seen(layers: readonly EncodedLayer[]): readonly EncodedLayer[] {
    if (this.#hostsOnDemand && !this.#view && isMuch(layers)) this.#view = new RouteView()
    return this.#view?.of(layers, this.#names, this.#requests) ?? layers
  }

  /** Whether the last sending has been answered, one way or the other. */
  get answered(): boolean {
    return this.nonce === '' || this.acked === this.nonce || this.error !== ''
  }

  get holding(): boolean {
    return this.#held.size > 0
  }

  /** Whether a resource is told; `host`: its own, where that is known already. */
  wants(name: string, host = hostOf(name)): boolean {
    if (this.#names) return this.#names.has(name)
    if (!this.#narrow) return this.kind !== 'secrets'
    return host === undefined || this.#hosts.has(host)
  }

  /** A request of the state-of-the-world protocol; true when something must be sent because of it. */
  request(message: Message): boolean {
    this.#requests++
    const names: string[] = message.resource_names ?? []
    if (message.response_nonce) {
      if (message.response_nonce !== this.nonce) return false
      this.#answer(message)
    }
    const before = this.#names
    // No names are all of them until there were some; then they are none.
    const whole = names.includes('*') || (names.length === 0 && before === undefined)
    const wanted = whole ? undefined : new Set(names)
    for (const name of wanted ?? []) if (!before?.has(name)) this.#fresh.add(name)
    const widened = !this.#first && before !== undefined && wanted === undefined && this.kind !== 'secrets'
    this.#names = wanted
    this.#asked = true
    return this.#first || widened || this.#fresh.size > 0
  }

  /** A request of the delta protocol; true when something must be sent because of it. */
  requestDelta(message: Message): boolean {
    this.#requests++
    if (message.response_nonce) {
      if (message.response_nonce === this.nonce) this.#answer(message)
    }
    const add: string[] = message.resource_names_subscribe ?? []
    const drop: string[] = message.resource_names_unsubscribe ?? []
    if (!this.#asked) {
      this.#asked = true
      this.#known = new Map(Object.entries((message.initial_resource_versions ?? {}) as Record<string, string>))
      if (add.length > 0 && !add.includes('*')) this.#names = new Set()
    }
    for (const name of add)
      if (name !== '*') {
        if (this.#names ? !this.#names.has(name) : this.#onDemand) this.#fresh.add(name)
        this.#names?.add(name)
        this.#demand(name)
      }
    for (const name of drop) {
      this.#names?.delete(name)
      // One that is there stays with the client, and is kept up to date.
      if (this.kind === 'listeners' && !find(this.#sent, this.kind, name)) this.#hosts.delete(name)
    }
    return this.#first || this.#fresh.size > 0
  }

  #demand(name: string): void {
    const host = !this.#onDemand ? undefined : this.kind === 'listeners' ? name : hostOf(name)
    if (host === undefined || this.#hosts.has(host)) return
    this.#hosts.add(host)
    if (this.#narrow) this.#newHosts.add(host)
  }

  /** Among many clusters only what was asked for is told from now on, and what the client has is kept up to date. */
  #narrowAmong(layers: readonly EncodedLayer[]): void {
    if (!this.#onDemand || this.#narrow || this.#names) return
    if (!isMuch(layers)) return
    for (const layer of this.#sent) for (const name of layer[this.kind].keys()) this.#demand(name)
    for (const name of this.#known.keys()) this.#demand(name)
    this.#narrow = true
  }

  /** Notes that something is sent under a nonce, at a time that has this mark. */
  send(nonce: string, mark: number): void {
    this.nonce = nonce
    this.error = ''
    this.#sentMark = mark
  }

  /** Whether the proxy has answered what was made at this mark or later, or would be told nothing new by it. */
  hasAnswered(mark: number, layers: readonly EncodedLayer[]): boolean {
    return this.#answeredMark >= mark || (this.answered && !this.isBehind(layers))
  }

  #answer(message: Message): void {
    this.#answeredMark = this.#sentMark
    this.error = message.error_detail ? (message.error_detail.message ?? 'refused without a reason') : ''
    if (!this.error) this.acked = this.nonce
  }

  get #whole(): boolean {
    return this.kind === 'clusters' || this.kind === 'listeners'
  }

  /** These are to be sent again, as far as they are wanted, though they have not changed. */
  refresh(names: readonly string[]): void {
    if (this.#first) return
    for (const name of names)
      if (this.wants(name)) {
        this.#fresh.add(name)
        this.#refreshed.add(name)
      }
  }

  /** Whether what is subscribed differs between what was sent and what is now. */
  isBehind(layers: readonly EncodedLayer[]): boolean {
    if (this.#first || this.#fresh.size > 0) return true
    const seen = this.#seen(layers)
    // Mostly nothing has changed since: this is asked at every answer of every proxy.
    return seen !== this.#sent && seen.some((layer, i) => this.#differs(layer, this.#sent[i]))
  }

  #differs(layer: EncodedLayer, sent: EncodedLayer | undefined): boolean {
    const now = layer[this.kind]
    const before = sent?.[this.kind]
    if (!before) return now.size > 0
    if (before === now) return false
    const { changed, removed } = difference(before, now)
    return changed.some((r) => this.wants(r.name, r.host)) || removed.some((n) => this.wants(n))
  }

  /** What is to be sent now, if anything. `hold`: what is gone stays with the proxy for now. */
  next(all: readonly EncodedLayer[], hold: boolean): Outgoing | undefined {
    const layers = this.#seen(all)
    const released = !hold && this.#held.size > 0
    if (!this.isBehind(all) && !released) {
      this.#sent = layers
      return undefined
    }
    this.#narrowAmong(layers)
    const changed: WireResource[] = []
    const removed: string[] = []
    const { kind } = this
    if (this.#newHosts.size > 0)
      for (const layer of layers)
        for (const { name, host } of layer[kind].values())
          if (host !== undefined && this.#newHosts.has(host)) this.#fresh.add(name)
    this.#newHosts.clear()
    for (const [i, layer] of layers.entries()) {
      const before = this.#first ? undefined : this.#sent[i]?.[kind]
      const diff = before ? difference(before, layer[kind]) : { changed: [...layer[kind].values()], removed: [] }
      for (const r of diff.changed) if (this.wants(r.name, r.host)) changed.push(r)
      for (const name of diff.removed)
        if (this.wants(name) && !find(layers, kind, name)) {
          const old = before?.get(name)
          if (hold && old) this.#held.set(name, old)
          else removed.push(name)
        }
    }
    for (const r of changed) this.#held.delete(r.name)
    if (released) {
      removed.push(...this.#held.keys())
      this.#held.clear()
    }
    const seen = new Set(changed.map((r) => r.name))
    for (const name of this.#fresh) {
      if (seen.has(name)) continue
      const resource = find(layers, kind, name)
      if (resource) changed.push(resource)
      // Who asks for what is not there is told so.
      else if (this.delta && !this.#refreshed.has(name)) removed.push(name)
    }
    const first = this.#first
    this.#first = false
    this.#fresh.clear()
    this.#refreshed.clear()
    this.#sent = layers
    if (this.delta) {
      const resources = first ? changed.filter((r) => this.#known.get(r.name) !== r.version) : changed
      const gone = first ? [...this.#known.keys()].filter((n) => !find(layers, kind, n)) : []
      this.#known = new Map()
      if (!first && resources.length === 0 && removed.length + gone.length === 0) return undefined
      return { resources, removed: [...removed, ...gone], changed: resources }
    }
    // Types that are told whole are; of the others what is not mentioned is as it was.
    if (!this.#whole) return !first && changed.length === 0 ? undefined : { resources: changed, removed: [], changed }
    const told = layers.flatMap((layer) => [...layer[kind].values()].filter((r) => this.wants(r.name, r.host)))
    return { resources: [...told, ...this.#held.values()], removed: [], changed }
  }
}

const isMuch = (layers: readonly EncodedLayer[]) => layers.reduce((n, layer) => n + layer.clusters.size, 0) > MANY
