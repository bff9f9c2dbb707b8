// The ADS server, state of the world: sends each proxy what changed for it, in an order that breaks nothing.

import {
  Cluster,
  ClusterLoadAssignment,
  fromStruct,
  Listener,
  RouteConfiguration,
  Secret,
  streamAggregatedResources,
  TYPE,
} from '#api/xds'
import { Coalesced, type Log } from '#base'
import { GrpcCode, type Message, type MessageType } from '#wire'
import type { ServerCall } from '#wire/grpc-server'
import type { XdsResources } from './view.ts'

type Kind = keyof XdsResources
const KINDS: readonly { kind: Kind; url: string; type: MessageType }[] = [
  { kind: 'clusters', url: TYPE.cluster, type: Cluster },
  { kind: 'endpoints', url: TYPE.endpoint, type: ClusterLoadAssignment },
  { kind: 'secrets', url: TYPE.secret, type: Secret },
  { kind: 'listeners', url: TYPE.listener, type: Listener },
  { kind: 'routes', url: TYPE.route, type: RouteConfiguration },
]

/** Who a proxy's token says it is. */
export interface ProxyUser {
  readonly name: string
  readonly groups: readonly string[]
  readonly extra?: Readonly<Record<string, readonly string[]>>
}

/** A proxy that is connected. */
export interface ProxyIdentity {
  id: string
  role: 'sidecar' | 'router'
  /** The pod's name. */
  name: string
  user: ProxyUser
  ip: string
  namespace: string
  metadata: Record<string, unknown>
}

export interface AdsOptions {
  log: Log
  /** The resources of a proxy as the cluster is now. */
  resources(proxy: ProxyIdentity): XdsResources
  /** The user behind a call's token; undefined refuses the call. */
  authenticate(call: ServerCall): Promise<ProxyUser | undefined> | undefined
  onNack(proxy: ProxyIdentity, type: string, message: string): void
}

/** What one proxy has subscribed to, was sent and has acknowledged, by type. */
interface Subscription {
  names: Set<string> | undefined
  sent: Map<string, string>
  nonce: string
  version: number
  acked: Map<string, string>
  pending: Map<string, string>
}

export class AdsServer {
  readonly #options: AdsOptions
  readonly #connections = new Set<Connection>()
  readonly #waiters = new Set<() => void>()

  constructor(options: AdsOptions) {
    this.#options = options
  }

  get method() {
    return { method: streamAggregatedResources, handle: (call: ServerCall) => void this.#accept(call) }
  }

  get proxies(): { id: string; synced: boolean }[] {
    return [...this.#connections].map((c) => ({ id: c.proxy?.id ?? '', synced: c.synced }))
  }

  /** Something changed: every proxy is looked at again. */
  push(): void {
    for (const connection of this.#connections) void connection.push()
  }

  /** Resolves when every connected proxy has been sent the endpoints of now and has acknowledged them. */
  async settled(): Promise<void> {
    const open = [...this.#connections]
    await Promise.all(open.map((c) => c.push()))
    const settled = () => open.every((c) => c.settled || !this.#connections.has(c))
    if (settled()) return
    await new Promise<void>((resolve) => {
      const look = () => {
        if (!settled()) return
        this.#waiters.delete(look)
        resolve()
      }
      this.#waiters.add(look)
    })
  }

  async #accept(call: ServerCall): Promise<void> {
    const early: Message[] = []
    call.onMessage = (m) => early.push(m)
    const user = await this.#options.authenticate(call)
    if (!user)
      return call.end(GrpcCode.unauthenticated, 'a service-account token for the audience istio-ca is required')
    const connection = new Connection(call, user, this.#options, () => {
      for (const look of [...this.#waiters]) look()
    })
    this.#connections.add(connection)
    call.onClose = () => {
      this.#connections.delete(connection)
      for (const look of [...this.#waiters]) look()
    }
    call.onEnd = () => call.end()
    call.onMessage = (m) => connection.receive(m)
    for (const m of early) connection.receive(m)
  }
}

class Connection {
  readonly #call: ServerCall
  readonly #options: AdsOptions
  readonly #subscriptions = new Map<string, Subscription>()
  readonly #onAck: () => void
  readonly #job: Coalesced
  proxy: ProxyIdentity | undefined
  #nonce = 0
  /** Clusters no longer wanted: removed once the routes that used them are acknowledged. */
  #sweep = false

  readonly #user: ProxyUser

  constructor(call: ServerCall, user: ProxyUser, options: AdsOptions, onAck: () => void) {
    this.#call = call
    this.#user = user
    this.#options = options
    this.#onAck = onAck
    this.#job = new Coalesced(
      () => this.#push(),
      (error) => options.log.error('push failed', { proxy: this.proxy?.id, error }),
    )
  }

  get synced(): boolean {
    return [...this.#subscriptions.values()].every((s) => s.acked === s.sent || s.acked.size === s.sent.size)
  }

  /** The last endpoints sent are acknowledged. */
  get settled(): boolean {
    const endpoints = this.#subscriptions.get(TYPE.endpoint)
    return !endpoints || endpoints.acked === endpoints.pending
  }

  async push(): Promise<void> {
    if (this.proxy) await this.#job.trigger()
  }

  receive(request: Message): void {
    if (request.node && !this.proxy) {
      const proxy = identify(request.node, this.#user)
      const refusal = mismatch(proxy)
      if (refusal) return this.#call.end(GrpcCode.permissionDenied, refusal)
      this.proxy = proxy
    }
    const entry = KINDS.find((k) => k.url === request.type_url)
    if (!entry || !this.proxy) return
    const names: string[] = request.resource_names ?? []
    let s = this.#subscriptions.get(entry.url)
    if (!s) {
      s = { names: undefined, sent: new Map(), nonce: '', version: 0, acked: new Map(), pending: new Map() }
      this.#subscriptions.set(entry.url, s)
    }
    if (request.response_nonce) {
      if (request.response_nonce !== s.nonce) return
      if (request.error_detail) this.#options.onNack(this.proxy, entry.kind, request.error_detail.message ?? '')
      else {
        s.acked = s.pending
        this.#onAck()
        if (entry.kind === 'routes' && this.#sweep) void this.push()
      }
    }
    const wanted = names.length > 0 ? new Set(names) : undefined
    const changed =
      (wanted === undefined) !== (s.names === undefined) || (wanted && [...wanted].some((n) => !s!.names?.has(n)))
    s.names = wanted
    if (changed || !request.response_nonce) void this.push()
  }

  #push(): void {
    const resources = this.#options.resources(this.proxy!)
    const routes = this.#subscriptions.get(TYPE.route)
    const routesSettled =
      !routes ||
      (routes.acked === routes.pending &&
        same(routes.sent, render(resources, 'routes', RouteConfiguration, routes.names).texts))
    for (const { kind, url, type } of KINDS) {
      const s = this.#subscriptions.get(url)
      if (!s) continue
      const { texts, bodies } = render(resources, kind, type, s.names)
      // Make before break: a cluster goes only when no route in use can name it.
      if (kind === 'clusters' && !routesSettled)
        for (const [name, text] of s.sent)
          if (!texts.has(name)) {
            texts.set(name, text)
            bodies.set(name, Buffer.from(text, 'latin1'))
            this.#sweep = true
          }
      if (kind === 'clusters' && routesSettled) this.#sweep = false
      if (s.version > 0 && same(s.sent, texts)) continue
      s.sent = texts
      s.pending = texts
      s.version++
      s.nonce = String(++this.#nonce)
      this.#call.send({
        version_info: String(s.version),
        nonce: s.nonce,
        type_url: url,
        resources: [...bodies.values()].map((value) => ({ type_url: url, value })),
      })
    }
  }
}

function render(
  resources: XdsResources,
  kind: Kind,
  type: MessageType,
  names: Set<string> | undefined,
): { texts: Map<string, string>; bodies: Map<string, Buffer> } {
  const texts = new Map<string, string>()
  const bodies = new Map<string, Buffer>()
  for (const [name, message] of resources[kind]) {
    // Secrets are given by name only.
    if (names ? !names.has(name) : kind === 'secrets') continue
    const body = type.encode(message)
    bodies.set(name, body)
    texts.set(name, body.toString('latin1'))
  }
  return { texts, bodies }
}

function same(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  if (a.size !== b.size) return false
  for (const [k, v] of a) if (b.get(k) !== v) return false
  return true
}

/** "sidecar~ip~pod.namespace~domain", Istio's node id. */
function identify(node: Message, user: ProxyUser): ProxyIdentity {
  const [role, ip = '', id = ''] = String(node.id ?? '').split('~')
  const dot = id.lastIndexOf('.')
  return {
    id,
    role: role === 'router' ? 'router' : 'sidecar',
    ip,
    name: id.slice(0, dot),
    namespace: id.slice(dot + 1),
    metadata: fromStruct(node.metadata),
    user,
  }
}

/** Why a proxy may not call itself what it does: its token is for another pod or namespace. */
function mismatch({ id, name, namespace, user }: ProxyIdentity): string | undefined {
  const [, , owner] = user.name.split(':')
  const pod = user.extra?.['authentication.kubernetes.io/pod-name']?.[0]
  if (owner === namespace && (pod === undefined || pod === name)) return undefined
  return `the token of ${user.name} is not one of the proxy ${id}`
}
