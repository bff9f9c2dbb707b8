// One request and its response: normalized, filtered, routed, answered, counted, written down. Hot path.

import type { HeaderEdits, HttpChain, Route, WeightedCluster } from '../config/model.ts'
import type { FilterExchange } from '../filters/filter.ts'
import { type Peer, UNKNOWN_PEER } from '../telemetry/peer.ts'
import type { StreamInfo } from '../telemetry/stream-info.ts'
import { traceRequest } from '../telemetry/trace-context.ts'
import type { ClusterState } from '../upstream/cluster-state.ts'
import type { ProxyContext } from './context.ts'
import { markOrigin } from './edge.ts'
import { editFields } from './header-edits.ts'
import { httpDate } from './http-date.ts'
import { grpcMessage, grpcStatusOf, type LocalReply } from './local-reply.ts'
import { MessageCount } from './message-count.ts'
import { normalizeTarget } from './path.ts'
import { redirectLocation } from './redirect.ts'
import {
  type Downstream,
  fieldOf,
  firstOf,
  type HttpRequest,
  isGrpc,
  pathOf,
  requestField,
  rewriteHost,
  safeTrailers,
  setField,
} from './request.ts'
import { requestId } from './request-id.ts'
import { clusterOf, findHost, findRoute } from './route.ts'
import { Router } from './router.ts'
import { endsOf, localEnd, type Source } from './source.ts'

/** Bytes of a body that are kept while filters wait; then the client waits too (Envoy's buffer limit). */
const HELD_LIMIT = 1024 * 1024
const NONE: readonly string[] = []

export class Exchange implements FilterExchange, StreamInfo {
  readonly context: ProxyContext
  readonly chain: HttpChain
  readonly request: HttpRequest
  readonly source: Source
  readonly #downstream: Downstream
  readonly #started = performance.now()
  client = ''
  responded = false
  status = 0
  flags = ''
  details = ''
  upstreamFailure = ''
  bytesReceived = 0
  bytesSent = 0
  grpcStatus = ''
  traceId = ''
  responseFields: readonly string[] = NONE
  responseTrailers: readonly string[] = NONE
  over = false
  #ended = 0
  #requestEnd = -1
  #responseBegin = -1
  #peer: Peer = UNKNOWN_PEER
  #route: Route | undefined
  #routed = false
  #requireTls = false
  #cluster: ClusterState | undefined
  #router: Router | undefined
  /** What has come of the body while nobody takes it. */
  #held: Buffer[] = []
  #heldSize = 0
  #requestEnded: boolean
  #trailers: readonly string[] | undefined
  #whole: { limit: number; done: (body: Buffer | undefined, begin: Buffer) => void } | undefined
  #targetEdits: HeaderEdits | undefined
  #edits: ((status: number, fields: string[]) => void)[] | undefined
  #finishers: (() => void)[] | undefined
  #idle: NodeJS.Timeout | undefined
  #idleAt = 0
  #life: NodeJS.Timeout | undefined
  readonly #grpc: boolean
  #requestMessages: MessageCount | undefined
  #responseMessages: MessageCount | undefined

  constructor(context: ProxyContext, chain: HttpChain, request: HttpRequest, downstream: Downstream, source: Source) {
    this.context = context
    this.chain = chain
    this.request = request
    this.source = source
    this.#downstream = downstream
    this.#requestEnded = !request.hasBody
    if (this.#requestEnded) this.#requestEnd = this.#started
    this.#grpc = isGrpc(request.fields)
    if (this.#grpc) {
      this.#requestMessages = new MessageCount()
      this.#responseMessages = new MessageCount()
    }
    context.stats.counters.downstreamRequestsActive++
    if (source.inbound) context.stats.counters.inboundRequestsActive++
  }

  /** Goes on its way. */
  begin(): void {
    const { chain, request, context } = this
    if (this.source.inbound) this.#peer = context.peers.take(request.fields)
    this.client = markOrigin(request, chain, this.source)
    if (chain.requestId) requestId(request.fields, chain, context.random)
    if (chain.sampling !== undefined) this.traceId = traceRequest(request.fields, chain.sampling, context.random)
    if (chain.stripPort) request.authority = request.authority.replace(/:\d+$/, '')
    const target = normalizeTarget(request.path, chain)
    if (typeof target !== 'string') {
      if ('reject' in target)
        return this.reply({ status: 400, flags: '', details: 'path_normalization_failed', body: '' })
      return this.#redirect(307, target.redirect)
    }
    request.path = target
    // Upgrades, too, are allowed by routes.
    if (context.config.hasRoutes(chain, request.authority)) return this.#proceed()
    context.config.awaitRoutes(chain, request.authority, () => {
      if (!this.over && !this.responded) this.#proceed()
    })
  }

  #proceed(): void {
    const { request } = this
    if (request.path === '*') return this.reply({ status: 404, flags: '', details: 'absolute_path_rejected', body: '' })
    if (request.upgrade && !this.#mayUpgrade()) {
      if (request.upgrade === 'connect')
        return this.reply({ status: 404, flags: 'NR', details: 'route_not_found', body: '' })
      return this.reply({ status: 403, flags: '', details: 'upgrade_failed', body: '' })
    }
    this.#watchTime()
    this.#filter(0)
  }

  #mayUpgrade(): boolean {
    const allowed = this.route()?.upgrades.get(this.request.upgrade)
    return allowed ?? this.chain.upgrades.has(this.request.upgrade)
  }

  #filter(at: number): void {
    const filter = this.chain.filters[at]
    if (this.over || this.responded) return
    if (filter) filter.onRequest(this, () => this.#filter(at + 1))
    else this.#forward()
  }

  get info(): StreamInfo {
    return this
  }

  route(): Route | undefined {
    if (this.#routed) return this.#route
    this.#routed = true
    const table = this.context.config.routeTable(this.chain, this.request.authority)
    const host = table && findHost(table, this.request.authority)
    this.#requireTls = host?.requireTls ?? false
    this.#route = host && findRoute(host, this.request, this.context.random)
    return this.#route
  }

  clearRoute(): void {
    this.#routed = false
  }

  settings(name: string): unknown {
    return this.route()?.perFilter.get(name)
  }

  addFlag(flag: string): void {
    this.flags = this.flags ? `${this.flags},${flag}` : flag
  }

  onResponse(edit: (status: number, fields: string[]) => void): void {
    this.#edits ??= []
    this.#edits.push(edit)
  }

  onFinish(done: () => void): void {
    this.#finishers ??= []
    this.#finishers.push(done)
  }

  whole(limit: number, done: (body: Buffer | undefined, begin: Buffer) => void): void {
    this.#whole = { limit, done }
    this.#lookWhole()
    // A client that was told to wait goes on: more is wanted now.
    if (this.#whole) this.#downstream.resumeRequest()
  }

  #lookWhole(): void {
    const whole = this.#whole
    if (!whole) return
    if (this.#heldSize > whole.limit) {
      this.#whole = undefined
      this.#downstream.pauseRequest()
      whole.done(undefined, Buffer.concat(this.#held).subarray(0, whole.limit))
    } else if (this.#requestEnded) {
      this.#whole = undefined
      const body = Buffer.concat(this.#held)
      whole.done(body, body)
    }
  }

  #forward(): void {
    const { request, context } = this
    const route = this.route()
    if (this.#requireTls && request.scheme === 'http')
      return this.#redirect(301, redirectLocation(request, { status: 301, scheme: 'https', stripQuery: false }))
    if (!route) return this.reply({ status: 404, flags: 'NR', details: 'route_not_found', body: '' })
    if (route.redirect) return this.#redirect(route.redirect.status, redirectLocation(request, route.redirect))
    if (route.directStatus)
      return this.reply({ status: route.directStatus, flags: '', details: 'direct_response', body: route.directBody })
    const target = clusterOf(route, request, context.random())
    const cluster = target && context.config.usable(target.name)
    if (cluster) return this.#forwardTo(cluster, target, route)
    const missing = () =>
      this.reply({ status: route.notFoundStatus, flags: 'NC', details: 'cluster_not_found', body: '' })
    // What a client names is not asked for: it could name without end.
    if (!target || route.clusterField) return missing()
    context.config.awaitCluster(target.name, (told) => {
      if (this.over || this.responded) return
      if (told) this.#forwardTo(told, target, route)
      else missing()
    })
  }

  #forwardTo(cluster: ClusterState, target: WeightedCluster, route: Route): void {
    const { request, context } = this
    this.#cluster = cluster
    if (cluster.config.proxyProtocol) request.ends = endsOf(this.source)
    const { rewrite } = route
    if (rewrite?.path) {
      const path = pathOf(request.path)
      const changed = rewrite.path(path) + request.path.slice(path.length)
      if (this.chain.routingFields) setField(request.fields, 'x-envoy-original-path', request.path)
      request.path = changed
    }
    const host = target.host ?? rewrite?.host ?? (rewrite?.hostField && requestField(request, rewrite.hostField))
    if (host) rewriteHost(request, host, route.tellsHost)
    // The innermost edits come first.
    if (target.request) this.#editRequest(target.request)
    for (const edits of route.request) this.#editRequest(edits)
    this.#targetEdits = target.response
    if (!this.source.inbound) {
      const { own } = context.peers
      for (const text of own) request.fields.push(text)
      if (route.decorator) setField(request.fields, 'x-envoy-decorator-operation', route.decorator)
    }
    if (route.idleTimeout !== undefined) this.#watchIdle(route.idleTimeout)
    if (route.maxStream > 0) this.#limitLife(route.maxStream)
    this.#router = new Router(this, route, cluster)
    this.#router.start()
    const held = this.#held
    this.#held = []
    this.#heldSize = 0
    for (const chunk of held) this.#router.data(chunk)
    if (this.#requestEnded && request.hasBody) this.#router.end(this.#trailers)
    else if (held.length > 0) this.#downstream.resumeRequest()
  }

  #editRequest(edits: Route['request'][number]): void {
    const { request } = this
    editFields(request.fields, edits, this)
    // The host stands apart from the fields.
    const host = fieldOf(request.fields, 'host') ?? fieldOf(request.fields, ':authority')
    if (host === undefined) return
    request.authority = host
    request.fields = request.fields.filter((_, i, all) => {
      const name = all[i - (i % 2)]
      return name !== 'host' && name !== ':authority'
    })
  }

  /** A piece of the request's body. */
  data(chunk: Buffer): void {
    if (this.over) return
    this.bytesReceived += chunk.length
    this.#requestMessages?.push(chunk)
    this.#idleAt = performance.now()
    if (this.#router) return this.#router.data(chunk)
    if (this.responded) return
    this.#held.push(chunk)
    this.#heldSize += chunk.length
    if (this.#whole) this.#lookWhole()
    else if (this.#heldSize > HELD_LIMIT) this.#downstream.pauseRequest()
  }

  /** The request is complete. */
  end(trailers: readonly string[] | undefined): void {
    if (this.over) return
    this.#requestEnded = true
    this.#requestEnd = performance.now()
    this.#trailers = safeTrailers(trailers)
    if (this.#router) this.#router.end(this.#trailers)
    else this.#lookWhole()
  }

  /** The client can take more of the response. */
  drained(): void {
    this.#router?.resume()
  }

  /** The client is gone. */
  cancel(): void {
    if (this.over) return
    this.flags = this.flags || 'DC'
    this.details ||= 'downstream_remote_disconnect'
    this.#finish()
  }

  /** For the router. */
  pauseRequest(): void {
    this.#downstream.pauseRequest()
  }

  resumeRequest(): void {
    this.#downstream.resumeRequest()
  }

  /** For the router: the head of the answer. */
  respond(status: number, fields: string[], end: boolean): void {
    this.details = 'via_upstream'
    this.#responseBegin = performance.now()
    if (this.chain.routingFields) {
      const served = fields.indexOf('x-envoy-upstream-service-time')
      const took = String(Math.round(this.#responseBegin - this.#started))
      if (served >= 0 && served % 2 === 0) fields[served + 1] = took
      else fields.push('x-envoy-upstream-service-time', took)
    }
    if (this.#grpc) this.grpcStatus = fieldOf(fields, 'grpc-status') ?? ''
    this.#head(status, fields, end)
  }

  /** Whatever a route has made of it, an answer says who served it and when. */
  #sign(fields: string[]): void {
    let server = -1
    let dated = false
    for (let i = 0; i < fields.length; i += 2) {
      if (fields[i] === 'server') server = i
      else if (fields[i] === 'date') dated = true
    }
    const { serverHeader, serverName } = this.chain
    if (!dated) fields.push('date', httpDate())
    if (server < 0) {
      if (serverHeader !== 'passThrough') fields.push('server', serverName)
    } else if (serverHeader === 'overwrite') fields[server + 1] = serverName
  }

  #head(status: number, fields: string[], end: boolean, plain = false): void {
    this.responded = true
    this.status = status
    this.responseFields = fields
    if (this.#targetEdits) editFields(fields, this.#targetEdits, this)
    if (this.#route && !plain) for (const edits of this.#route.response) editFields(fields, edits, this)
    if (this.#edits) for (const edit of this.#edits) edit(status, fields)
    this.#sign(fields)
    this.#downstream.respond(status, fields, end)
    if (end) this.#finish()
  }

  /** For the router: a piece of the answer; false when the client is slow. */
  responseData(chunk: Buffer): boolean {
    if (this.over) return true
    this.bytesSent += chunk.length
    this.#responseMessages?.push(chunk)
    this.#idleAt = performance.now()
    return this.#downstream.data(chunk)
  }

  /** For the router: the answer is complete. */
  responseEnd(trailers: readonly string[] | undefined): void {
    if (this.over) return
    if (trailers) {
      this.responseTrailers = trailers
      if (this.#grpc) this.grpcStatus = fieldOf(trailers, 'grpc-status') ?? this.grpcStatus
    }
    this.#downstream.end(safeTrailers(trailers))
    this.#finish()
  }

  /** For the router: what has begun cannot be completed. */
  abort(flags: string, details: string): void {
    if (this.over) return
    if (flags) this.addFlag(flags)
    this.details = details
    this.#downstream.abort()
    this.#finish()
  }

  #redirect(status: number, location: string): void {
    this.reply({ status, flags: '', details: 'direct_response', body: '', fields: ['location', location] })
  }

  reply({ status, flags, details, body, fields = NONE, grpcStatus, plain = false }: LocalReply): void {
    if (this.over || this.responded) return
    if (flags) this.addFlag(flags)
    this.details = details
    const bodiless = status === 204 || status === 304
    const text = bodiless ? Buffer.alloc(0) : typeof body === 'string' ? Buffer.from(body) : body
    // A gRPC client reads its status where it looks for it.
    if (this.#grpc && (status < 300 || status >= 400)) {
      const code = grpcStatus ?? grpcStatusOf(status)
      this.grpcStatus = String(code)
      const message = grpcMessage(text.toString())
      const own = ['content-type', 'application/grpc', 'grpc-status', this.grpcStatus]
      if (message) own.push('grpc-message', message)
      return this.#head(200, [...own, ...fields], true)
    }
    const typed = fields.includes('content-type') ? NONE : ['content-type', 'text/plain']
    const own = text.length > 0 ? ['content-length', String(text.length), ...typed] : []
    this.#head(status, [...own, ...fields], text.length === 0 || this.request.method === 'HEAD', plain)
    if (this.over) return
    this.bytesSent += text.length
    this.#downstream.data(text)
    this.#downstream.end(undefined)
    this.#finish()
  }

  #watchTime(): void {
    const { chain } = this
    if (chain.streamIdleTimeout > 0) this.#watchIdle(chain.streamIdleTimeout)
    const life = chain.maxStream || (chain.requestTimeout > 0 && !this.#requestEnded ? chain.requestTimeout : 0)
    if (life > 0) this.#limitLife(life, !chain.maxStream)
  }

  #limitLife(ms: number, requestOnly = false): void {
    clearTimeout(this.#life)
    this.#life = setTimeout(() => {
      if (requestOnly && this.#requestEnded) return
      if (this.responded) this.abort('', 'max_duration_timeout')
      else if (requestOnly)
        this.reply({ status: 408, flags: '', details: 'request_overall_timeout', body: 'request timeout' })
      else this.reply({ status: 504, flags: '', details: 'max_duration_timeout', body: 'downstream duration timeout' })
    }, ms)
  }

  #watchIdle(ms: number): void {
    clearTimeout(this.#idle)
    if (ms <= 0) return
    this.#idleAt = performance.now()
    const look = () => {
      const left = this.#idleAt + ms - performance.now()
      if (left > 0) {
        this.#idle = setTimeout(look, left)
        return
      }
      if (this.responded) this.abort('SI', 'stream_idle_timeout')
      else
        this.reply({
          status: this.#requestEnded ? 504 : 408,
          flags: 'SI',
          details: 'stream_idle_timeout',
          body: 'stream timeout',
        })
    }
    this.#idle = setTimeout(look, ms)
  }

  get startTime(): number {
    return performance.timeOrigin + this.#started
  }

  get durationMs(): number {
    return (this.#ended || performance.now()) - this.#started
  }

  get requestMs(): number {
    return this.#requestEnd < 0 ? -1 : this.#requestEnd - this.#started
  }

  get responseMs(): number {
    return this.#responseBegin < 0 ? -1 : this.#responseBegin - this.#started
  }

  get protocol(): string {
    return this.request.protocol
  }

  get terminationDetails(): string {
    return ''
  }

  get upstreamHost(): string {
    return this.#router?.host?.key ?? ''
  }

  get upstreamCluster(): string {
    return this.#meant()?.config.name ?? ''
  }

  /** The cluster that the request went to, or would have. */
  #meant(): ClusterState | undefined {
    if (this.#cluster || !this.#route) return this.#cluster
    const { clusters } = this.#route
    return clusters.length === 1 ? this.context.config.clusters.get(clusters[0]!.name) : undefined
  }

  get upstreamLocal(): string {
    return this.#router?.local ?? ''
  }

  get attempts(): number {
    return this.#router?.tries ?? 0
  }

  get downstreamLocal(): string {
    return localEnd(this.source)
  }

  get downstreamRemote(): string {
    return this.client && this.client !== this.source.client ? `${this.client}:0` : this.source.remote
  }

  get downstreamDirect(): string {
    return this.source.remote
  }

  get peerUri(): string {
    return this.source.tls?.peer?.uri ?? ''
  }

  get peerSubject(): string {
    return this.source.tls?.peer?.subject ?? ''
  }

  get tlsVersion(): string {
    return this.source.tls?.version ?? ''
  }

  get serverName(): string {
    return this.source.tls?.serverName ?? ''
  }

  get routeName(): string {
    return this.#route?.name ?? ''
  }

  get hostname(): string {
    return this.context.stats.hostname
  }

  requestField(name: string): string | undefined {
    return firstOf(this.request.fields, name) ?? requestField(this.request, name)
  }

  #finish(): void {
    if (this.over) return
    this.over = true
    this.#ended = performance.now()
    clearTimeout(this.#idle)
    clearTimeout(this.#life)
    const { context, source } = this
    context.stats.counters.downstreamRequestsActive--
    if (source.inbound) context.stats.counters.inboundRequestsActive--
    if (this.#finishers) for (const done of this.#finishers) done()
    const host = this.#router?.host
    context.stats.record({
      inbound: source.inbound,
      peer: source.inbound ? this.#peer : (host?.peer ?? UNKNOWN_PEER),
      service: this.#meant()?.config.service ?? UNKNOWN_SERVICE,
      protocol: this.#grpc ? 'grpc' : 'http',
      code: this.status,
      flags: this.flags,
      grpcStatus: this.grpcStatus,
      durationMs: this.#ended - this.#started,
      requestBytes: this.bytesReceived,
      responseBytes: this.bytesSent,
      requestMessages: this.#requestMessages?.count ?? 0,
      responseMessages: this.#responseMessages?.count ?? 0,
      source,
    })
    for (const log of this.chain.accessLogs) log.write(this)
    this.#router?.stop()
    this.#held = []
    this.#downstream.finished()
  }
}

const UNKNOWN_SERVICE = { host: 'unknown', name: 'unknown', namespace: 'unknown' }
