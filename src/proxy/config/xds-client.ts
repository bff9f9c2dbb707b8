// The ADS client: subscribes, applies what is good, refuses what is not with a reason, reconnects. State of the
// world or delta (envoyproxy.io, xds_protocol.rst).

import { readFileSync } from 'node:fs'
import { deltaAggregatedResources, streamAggregatedResources, TYPE, toStruct } from '#api/xds'
import { type Log, messageOf } from '#base'
import { GrpcClient, type GrpcStream, type Message } from '#wire'
import type { ConfigStore } from './config-store.ts'
import type { Resources, Told } from './resources.ts'

export interface XdsClientOptions {
  readonly host: string
  readonly port: number
  /** PEM files: the mesh's CA and the token to show; without them the connection is plain. */
  readonly caFile?: string
  readonly tokenFile?: string
  readonly serverName?: string
  readonly delta?: boolean
  readonly node: { id: string; cluster: string; metadata: Record<string, unknown> }
  readonly config: ConfigStore
  readonly resources: Resources
  readonly log: Log
}

interface Subscription {
  version: string
  nonce: string
  names: readonly string[]
  asked: boolean
}

/** In this order they are asked for and put in force: what is named comes before what names it. */
const ORDER = [TYPE.cluster, TYPE.endpoint, TYPE.listener, TYPE.route, TYPE.secret] as const
/** Types that are asked for whole; the others by the names that those mention. */
const WHOLE: ReadonlySet<string> = new Set([TYPE.cluster, TYPE.listener])
const INVALID_ARGUMENT = 3
/** So often the address that answered last is tried before its name is asked for again. */
const ADDRESS_TRIES = 50
/** A control plane that comes back is found within this. */
const MOST_DELAY_MS = 800

export class XdsClient {
  readonly #options: XdsClientOptions
  readonly #state = new Map<string, Subscription>()
  #stream: GrpcStream | undefined
  #client: GrpcClient | undefined
  #delay = 100
  #introduced = false
  #closed = false
  #retry: NodeJS.Timeout | undefined
  /** Where the control plane was found last. */
  #address: string | undefined
  /** Tries since it was heard. */
  #failures = 0
  /** Whether a control plane is there at this moment. */
  connected = false

  constructor(options: XdsClientOptions) {
    this.#options = options
    const { config, delta } = options
    config.onDemand = delta ?? false
    const ask = () => {
      if (this.#stream) this.#subscribe()
    }
    config.demandedClusters.onAsk = ask
    config.demandedRoutes.onAsk = ask
    // There is a way without them, which is taken while nobody can be asked.
    config.demandedListeners.onAsk = (name) => {
      if (this.connected) ask()
      else config.demandedListeners.tell(name, true)
    }
  }

  /** Connects, and stays connected until closed. */
  start(): void {
    const { host, port, caFile, tokenFile, serverName, log, delta } = this.#options
    try {
      this.#client = new GrpcClient({
        host: this.#address ?? host,
        port,
        ...(caFile ? { tls: { ca: readFileSync(caFile, 'utf8'), servername: serverName ?? host } } : {}),
        ...(tokenFile
          ? { headers: () => ({ authorization: `Bearer ${readFileSync(tokenFile, 'utf8').trim()}` }) }
          : {}),
      })
      this.#stream = this.#client.stream(delta ? deltaAggregatedResources : streamAggregatedResources, {
        onMessage: (m) => {
          this.#failures = 0
          this.#receive(m)
        },
        onEnd: (error) => this.#again(error?.message ?? 'the server ended the stream'),
      })
    } catch (error) {
      return this.#again(messageOf(error))
    }
    this.#introduced = false
    for (const url of ORDER) this.#state.set(url, { version: '', nonce: '', names: [], asked: false })
    this.#subscribe()
    log.debug('connected', { host, port })
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#retry)
    this.#client?.close()
  }

  #again(reason: string): void {
    this.connected = false
    this.#client?.close()
    if (this.#closed) return
    // The address that answered last is tried first: who answers for names may be away as well.
    if (++this.#failures > ADDRESS_TRIES) this.#address = undefined
    this.#options.log.warn('control plane lost, serving with what is known', { reason, retryMs: this.#delay })
    // Not all at once: many proxies lose their control plane in the same moment.
    this.#retry = setTimeout(() => this.start(), this.#delay * (0.5 + Math.random() / 2))
    this.#delay = Math.min(this.#delay * 2, MOST_DELAY_MS)
  }

  /** Asks for what is not asked for yet, by the names that are mentioned now. */
  #subscribe(): void {
    for (const url of ORDER) {
      const s = this.#state.get(url)!
      const names = this.#namesOf(url)
      if (s.asked ? names.join() === s.names.join() : names.length === 0 && !WHOLE.has(url)) continue
      if (this.#options.delta) this.#sendDelta(url, names)
      else {
        s.names = names
        this.#send(url)
      }
      s.asked = true
    }
  }

  #node(): { node?: Message } {
    if (this.#introduced) return {}
    this.#introduced = true
    const { id, cluster, metadata } = this.#options.node
    return { node: { id, cluster, metadata: toStruct(metadata), user_agent_name: 'sampan' } }
  }

  #send(url: string, error?: string): void {
    const s = this.#state.get(url)!
    this.#stream?.send({
      type_url: url,
      version_info: s.version,
      response_nonce: s.nonce,
      resource_names: s.names,
      ...this.#node(),
      ...(error ? { error_detail: { code: INVALID_ARGUMENT, message: error } } : {}),
    })
  }

  #sendDelta(url: string, names: readonly string[]): void {
    const s = this.#state.get(url)!
    const before = new Set(s.names)
    const now = new Set(names)
    const first = !s.asked
    // After a reconnection the server need not tell again what is known.
    const initial = first
      ? Object.fromEntries([...this.#options.resources.of(url)].map(([name, { version }]) => [name, version]))
      : {}
    s.names = names
    this.#stream?.send({
      type_url: url,
      ...this.#node(),
      resource_names_subscribe: names.filter((n) => first || !before.has(n)),
      resource_names_unsubscribe: first ? [] : [...before].filter((n) => !now.has(n)),
      initial_resource_versions: initial,
    })
  }

  #namesOf(url: string): string[] {
    const { config } = this.#options
    switch (url) {
      case TYPE.route:
        return config.routeNames()
      case TYPE.secret:
        return config.secretNames()
      case TYPE.endpoint:
        return config.endpointNames()
      case TYPE.cluster:
        return wholeAnd([...config.demandedClusters.names])
      case TYPE.listener:
        return wholeAnd([...config.demandedListeners.names])
      default:
        return []
    }
  }

  #receive(response: Message): void {
    this.#delay = 100
    this.connected = true
    this.#address = this.#client?.remoteAddress ?? this.#address
    const url: string = response.type_url
    const { resources, delta } = this.#options
    const s = this.#state.get(url)
    if (!s || !resources.isKnownType(url)) return
    s.nonce = response.nonce ?? ''
    const told: Told[] = []
    const reasons: string[] = []
    for (const r of (response.resources ?? []) as Message[]) {
      try {
        const any = delta ? (r.resource ?? {}) : r
        const name = delta ? r.name : resources.nameOf(any.value)
        told.push({
          name,
          version: (delta ? r.version : response.version_info) ?? '',
          bytes: any.value ?? new Uint8Array(),
        })
      } catch (error) {
        reasons.push(messageOf(error))
      }
    }
    const refused = resources.apply(url, told, (response.removed_resources ?? []) as string[], !delta)
    if (refused) reasons.push(refused)
    const error = reasons.length > 0 ? reasons.join('; ') : undefined
    if (error) this.#options.log.warn('configuration refused', { type: url, reason: error })
    if (!delta && !error) s.version = response.version_info ?? ''
    const { nonce } = s
    const stream = this.#stream
    const answer = () => {
      // Another stream has nonces of its own, and what came since has an answer of its own.
      if (this.#stream !== stream || s.nonce !== nonce) return
      if (delta)
        stream?.send({
          type_url: url,
          response_nonce: nonce,
          ...(error ? { error_detail: { code: INVALID_ARGUMENT, message: error } } : {}),
        })
      else this.#send(url, error)
    }
    // What is acknowledged is in force, in every worker.
    if (resources.everywhere) void resources.everywhere.then(answer)
    else answer()
    this.#subscribe()
  }
}

/** All there is, and names besides; all alone is said by no names. */
const wholeAnd = (names: readonly string[]) => (names.length > 0 ? ['*', ...names] : [])
