// One request and its response: routed, sent to an endpoint, tried again where that is safe, counted.

import { randomUUID } from 'node:crypto'
import { pickEndpoint } from './balance.ts'
import type { ConfigStore } from './config-store.ts'
import { editFields } from './header-edits.ts'
import { type Downstream, fieldOf, type HttpRequest, type Upstream } from './http.ts'
import { httpDate } from './http-date.ts'
import type { Cluster, Endpoint, HeaderEdits, HttpChain, Route } from './model.ts'
import { normalizePath } from './path.ts'
import type { PeerMetadata } from './peer-metadata.ts'
import { redirectLocation } from './redirect.ts'
import { findHost, findRoute, pickCluster } from './route.ts'
import { type Peer, parseWorkload, type Stats, UNKNOWN_PEER } from './stats.ts'
import type { H1Pool } from './upstream-h1.ts'
import type { H2Pool } from './upstream-h2.ts'

/** What exchanges share. */
export interface ExchangeContext {
  readonly config: ConfigStore
  readonly stats: Stats
  readonly h1: H1Pool
  readonly h2: H2Pool
  readonly peers: PeerMetadata
  readonly random: () => number
}

/** Where the connection was on its way to. */
export interface Destination {
  readonly host: string
  readonly port: number
  readonly inbound: boolean
  /** Whether the client's connection was TLS that ended here. */
  readonly tls?: boolean
  /** The client's address. */
  readonly client: string
}

const RETRIES = 2
/** A body up to this size is kept, so that the request can be sent again. */
const REPLAY_LIMIT = 64 * 1024

const NO_EDITS: readonly HeaderEdits[] = []

export class Exchange {
  readonly #context: ExchangeContext
  #request: HttpRequest
  readonly #chain: HttpChain
  readonly #downstream: Downstream
  readonly #destination: Destination
  readonly #started = performance.now()
  #cluster: Cluster | undefined
  #endpoint: Endpoint | undefined
  #upstream: Upstream | undefined
  #peer: Peer = UNKNOWN_PEER
  #tries = 0
  #responded = false
  #finished = false
  #status = 0
  #flags = '-'
  #grpcStatus = ''
  #replay: Uint8Array[] | undefined = []
  #replaySize = 0
  #requestEnded = false
  #trailers: readonly string[] | undefined
  #timer: NodeJS.Timeout | undefined
  #extra: string[] = []
  #edits: readonly HeaderEdits[] = NO_EDITS

  constructor(
    context: ExchangeContext,
    chain: HttpChain,
    request: HttpRequest,
    downstream: Downstream,
    destination: Destination,
  ) {
    this.#context = context
    this.#request = request
    this.#chain = chain
    this.#downstream = downstream
    this.#destination = destination
    this.#requestEnded = !request.hasBody
    const path = normalizePath(request.path)
    if (path !== request.path) this.#request = { ...request, path }
    this.#begin()
  }

  get finished(): boolean {
    return this.#finished
  }

  /** A piece of the request's body. */
  data(chunk: Buffer): void {
    if (this.#finished) return
    if (this.#replay) {
      this.#replaySize += chunk.length
      if (this.#replaySize > REPLAY_LIMIT) this.#replay = undefined
      else this.#replay.push(Buffer.from(chunk))
    }
    if (this.#upstream && !this.#upstream.write(chunk)) this.#downstream.pauseRequest()
  }

  /** The request is complete. */
  end(trailers: readonly string[] | undefined): void {
    this.#requestEnded = true
    this.#trailers = trailers
    this.#upstream?.end(trailers)
  }

  /** The client can take more of the response. */
  drained(): void {
    this.#upstream?.resume()
  }

  /** The client is gone. */
  cancel(): void {
    if (this.#finished) return
    this.#flags = 'DC'
    this.#upstream?.cancel()
    this.#finish(this.#status || 0)
  }

  #begin(): void {
    const { config, peers } = this.#context
    const chain = this.#chain
    if (this.#destination.tls) this.#request = { ...this.#request, scheme: 'https' }
    if (chain.edge) this.#request = { ...this.#request, fields: edgeFields(this.#request, this.#destination.client) }
    const request = this.#request
    if (this.#destination.inbound) this.#peer = peers.take(request.fields)
    const table = config.routeTable(chain)
    const host = table && findHost(table, request.authority)
    const route = host && findRoute(host, { ...request, header: (name) => fieldOf(request.fields, name) })
    if (host?.requireTls && request.scheme === 'http')
      return this.#redirect(301, redirectLocation(request, { status: 301, scheme: 'https' }))
    if (!route) return this.#local(404, 'NR', '')
    if (route.redirect) return this.#redirect(route.redirect.status, redirectLocation(request, route.redirect))
    this.#edits = route.response ? [route.response] : NO_EDITS
    if (route.directStatus) return this.#local(route.directStatus, '-', route.directBody)
    const target = pickCluster(route, this.#context.random())
    const cluster = target && config.clusters.get(target.name)
    if (!cluster) return this.#local(503, 'NC', '')
    this.#cluster = cluster
    if (target.response) this.#edits = [...this.#edits, target.response]
    if (route.rewrite || route.request || target.request) this.#request = rewritten(request, route, target.request)
    this.#extra = []
    if (!fieldOf(request.fields, 'x-request-id')) this.#extra.push('x-request-id', randomUUID())
    if (!fieldOf(request.fields, 'x-forwarded-proto')) this.#extra.push('x-forwarded-proto', request.scheme)
    if (!this.#destination.inbound) this.#extra.push('x-envoy-attempt-count', '1', ...peers.own)
    if (route.timeout > 0) this.#timer = setTimeout(() => this.#timedOut(), route.timeout)
    this.#try()
  }

  #try(): void {
    const { config } = this.#context
    const cluster = this.#cluster!
    this.#tries++
    if (cluster.type === 'originalDst')
      this.#endpoint = { host: this.#destination.host, port: this.#destination.port, workload: '', active: 0 }
    else {
      const endpoints = config.endpoints.get(cluster.name) ?? []
      this.#endpoint = pickEndpoint(cluster, endpoints, this.#context.random, this.#endpoint)
    }
    const endpoint = this.#endpoint
    if (!endpoint) return this.#local(503, 'UH', 'no healthy upstream')
    if (!this.#destination.inbound) this.#peer = parseWorkload(endpoint.workload)
    endpoint.active++
    const http2 =
      cluster.protocol === 'http2' || (cluster.protocol === 'downstream' && this.#request.protocol === 'HTTP/2')
    const pool = http2 ? this.#context.h2 : this.#context.h1
    let released = false
    const release = () => {
      if (!released) endpoint.active--
      released = true
    }
    this.#upstream = pool.request(
      endpoint.host,
      endpoint.port,
      cluster.connectTimeout,
      this.#request,
      this.#extra,
      {
        onHead: (status, fields, end) => {
          if (this.#finished) return
          this.#responded = true
          this.#status = status
          this.#grpcStatus = fieldOf(fields, 'grpc-status') ?? this.#grpcStatus
          this.#downstream.respond(status, this.#responseFields(fields), end)
          if (end) {
            release()
            this.#finish(status)
          }
        },
        onData: (chunk) => {
          if (!this.#finished && !this.#downstream.data(chunk)) this.#upstream?.pause()
        },
        onEnd: (trailers) => {
          release()
          if (this.#finished) return
          if (trailers) this.#grpcStatus = fieldOf(trailers, 'grpc-status') ?? this.#grpcStatus
          this.#downstream.end(trailers)
          this.#finish(this.#status)
        },
        onDrain: () => this.#downstream.resumeRequest(),
        onError: (kind, reason, reused) => {
          release()
          this.#failed(kind, reason, reused)
        },
      },
      this.#tries > 1,
    )
    if (this.#tries > 1) for (const chunk of this.#replay ?? []) this.#upstream.write(chunk)
    if (this.#tries > 1 && this.#requestEnded && this.#request.hasBody) this.#upstream.end(this.#trailers)
  }

  #responseFields(fields: string[]): readonly string[] {
    const result: string[] = [
      'x-envoy-upstream-service-time',
      String(Math.round(performance.now() - this.#started)),
      'server',
      this.#chain.serverName,
    ]
    let dated = false
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!
      if (name === 'server' || name === 'x-envoy-upstream-service-time') continue
      if (name === 'date') dated = true
      result.push(name, fields[i + 1]!)
    }
    if (!dated) result.push('date', httpDate())
    return this.#edits.length === 0 ? result : this.#edits.reduce(editFields, result)
  }

  #redirect(status: number, location: string): void {
    this.#flags = '-'
    this.#downstream.respond(
      status,
      ['location', location, 'content-length', '0', 'date', httpDate(), 'server', this.#chain.serverName],
      true,
    )
    this.#finish(status)
  }

  /** Nothing of the response is here: a refused connection, or one the server had just closed, is tried again. */
  #failed(kind: 'connect' | 'reset', reason: string, reused: boolean): void {
    if (this.#finished) return
    if (this.#responded) {
      this.#flags = 'UC'
      this.#downstream.abort()
      return this.#finish(this.#status)
    }
    const safe = kind === 'connect' || (reused && IDEMPOTENT.has(this.#request.method))
    if (safe && this.#replay && this.#tries <= RETRIES) return this.#try()
    this.#local(
      503,
      kind === 'connect' ? 'UF' : 'UC',
      `upstream connect error or disconnect/reset before headers. reset reason: ${kind === 'connect' ? 'connection failure' : 'connection termination'}, transport failure reason: ${reason}`,
    )
  }

  #timedOut(): void {
    if (this.#finished) return
    this.#upstream?.cancel()
    this.#flags = 'UT'
    if (this.#responded) {
      this.#downstream.abort()
      return this.#finish(this.#status)
    }
    this.#local(504, 'UT', 'upstream request timeout')
  }

  /** The proxy's own answer. A gRPC client gets its status in the form it reads. */
  #local(status: number, flags: string, body: string): void {
    this.#flags = flags
    const grpc = this.#isGrpc()
    if (grpc) {
      const code = status === 404 ? 12 : status === 504 ? 4 : 14
      this.#grpcStatus = String(code)
      this.#downstream.respond(
        200,
        [
          'content-type',
          'application/grpc',
          'grpc-status',
          String(code),
          'grpc-message',
          encodeURIComponent(body),
          'date',
          httpDate(),
          'server',
          this.#chain.serverName,
        ],
        true,
      )
      return this.#finish(200)
    }
    const text = Buffer.from(body)
    const fields = [
      ...(body ? ['content-length', String(text.length), 'content-type', 'text/plain'] : ['content-length', '0']),
      'date',
      httpDate(),
      'server',
      this.#chain.serverName,
    ]
    this.#downstream.respond(status, fields, text.length === 0)
    if (text.length > 0) {
      this.#downstream.data(text)
      this.#downstream.end(undefined)
    }
    this.#finish(status)
  }

  #isGrpc(): boolean {
    return fieldOf(this.#request.fields, 'content-type')?.startsWith('application/grpc') ?? false
  }

  #finish(code: number): void {
    if (this.#finished) return
    this.#finished = true
    clearTimeout(this.#timer)
    this.#replay = undefined
    this.#context.stats.record({
      inbound: this.#destination.inbound,
      peer: this.#peer,
      service: this.#cluster?.service ?? { host: this.#request.authority, name: 'unknown', namespace: 'unknown' },
      protocol: this.#isGrpc() ? 'grpc' : 'http',
      code,
      flags: this.#flags,
      grpcStatus: this.#grpcStatus,
      durationMs: performance.now() - this.#started,
    })
  }
}

/** Methods that may be sent again when it is not known whether they arrived (RFC 9110, 9.2.2). */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])

/** The request as the route wants it: another path or host, other fields. */
function rewritten(request: HttpRequest, route: Route, own: HeaderEdits | undefined): HttpRequest {
  const { rewrite } = route
  const mark = request.path.search(/[?#]/)
  const path = mark < 0 ? request.path : request.path.slice(0, mark)
  let { fields } = request
  if (rewrite?.path) fields = [...fields, 'x-envoy-original-path', request.path]
  for (const edits of [route.request, own]) if (edits) fields = editFields(fields, edits)
  const host = fields.findIndex((name, i) => i % 2 === 0 && (name === ':authority' || name === 'host'))
  const authority = host < 0 ? (rewrite?.host ?? request.authority) : fields[host + 1]!
  return {
    ...request,
    fields: host < 0 ? fields : fields.filter((_, i) => i !== host && i !== host + 1),
    authority,
    path: rewrite?.path ? rewrite.path(path) + (mark < 0 ? '' : request.path.slice(mark)) : request.path,
  }
}

/** What the mesh says of clients is written by its edge, not by the clients. */
const EDGE_FIELDS = new Set([
  'x-forwarded-proto',
  'x-envoy-internal',
  'x-envoy-external-address',
  'x-forwarded-client-cert',
])

function edgeFields(request: HttpRequest, client: string): string[] {
  const result: string[] = []
  const forwarded: string[] = []
  for (let i = 0; i < request.fields.length; i += 2) {
    const name = request.fields[i]!
    if (name === 'x-forwarded-for') forwarded.push(request.fields[i + 1]!)
    else if (!EDGE_FIELDS.has(name)) result.push(name, request.fields[i + 1]!)
  }
  result.push('x-forwarded-for', [...forwarded, client].join(','), 'x-forwarded-proto', request.scheme)
  return result
}
