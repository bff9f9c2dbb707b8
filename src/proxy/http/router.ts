// Sends a request to a cluster: picks hosts, tries again where that is asked for, keeps time. Hot path.

import { Deadline } from '#base'
import type { RetryPolicy, Route } from '../config/model.ts'
import type { ClusterState } from '../upstream/cluster-state.ts'
import { IDEMPOTENT } from '../upstream/h1-pool.ts'
import type { Host } from '../upstream/host.ts'
import { poolFor } from './context.ts'
import type { Exchange } from './exchange.ts'
import { hashRequest } from './hash-policy.ts'
import {
  fieldOf,
  isGrpc,
  rewriteHost,
  setField,
  type Upstream,
  type UpstreamEvents,
  type UpstreamFailure,
} from './request.ts'
import { backOff, type Outcome, requestedPolicy, wantsRetry } from './retry.ts'
import { Shadow } from './shadow.ts'

/** A body up to this size is kept, so that the request can be sent again. */
const REPLAY_LIMIT = 64 * 1024
/** Tries that the proxy makes of its own accord when a server says, or its closing shows, that it has done nothing. */
const STALE_TRIES = 3

const FLAGS: Readonly<Record<UpstreamFailure, string>> = {
  connect: 'UF',
  timeout: 'UF',
  reset: 'UC',
  refused: 'UR',
  overflow: 'UO',
  protocol: 'UPE',
  remoteReset: 'UR',
}
const REASONS: Readonly<Record<UpstreamFailure, string>> = {
  connect: 'remote connection failure',
  timeout: 'connection timeout',
  reset: 'connection termination',
  refused: 'remote refused stream reset',
  overflow: 'overflow',
  protocol: 'protocol error',
  remoteReset: 'remote reset',
}
const DETAILS: Readonly<Record<UpstreamFailure, string>> = {
  connect: 'remote_connection_failure',
  timeout: 'connection_timeout',
  reset: 'connection_termination',
  refused: 'remote_refused_stream_reset',
  overflow: 'overflow',
  protocol: 'protocol_error',
  remoteReset: 'remote_reset',
}

export class Router {
  readonly #exchange: Exchange
  readonly #route: Route
  readonly #cluster: ClusterState
  readonly #policy: RetryPolicy | undefined
  readonly #perTry: number
  readonly #hash: number | undefined
  #try: Try | undefined
  #avoid: Set<Host> | undefined
  #tries = 0
  #stale = 0
  #retryHeld = false
  #deadline: Deadline | undefined
  #backOff: NodeJS.Timeout | undefined
  /** Priorities that were tried, and those that are left out. */
  #tried: Set<number> | undefined
  #without: ReadonlySet<number> | undefined
  readonly #timeout: number
  /** The host that the client asked for. */
  readonly #asked: string
  readonly #shadows: Shadow[] = []
  #replay: Uint8Array[] | undefined = []
  #replaySize = 0
  #ended = false
  /** Why it was not tried again though its policy asks for it; empty when it does not. */
  #notRetried: '' | 'URX' | 'UO' = ''
  #trailers: readonly string[] | undefined
  #over = false

  constructor(exchange: Exchange, route: Route, cluster: ClusterState) {
    this.#exchange = exchange
    this.#route = route
    this.#cluster = cluster
    this.#asked = exchange.request.authority
    const { request } = exchange
    const { fields } = request
    this.#policy = requestedPolicy(route.retry, fields)
    this.#hash = route.hash.length > 0 ? hashRequest(route.hash, exchange) : undefined
    let perTry = this.#policy?.perTryTimeout ?? 0
    let timeout = timeoutOf(route, fields)
    for (let i = fields.length - 2; i >= 0; i -= 2) {
      const name = fields[i]!
      if (!name.startsWith('x-envoy-')) continue
      const value = Number(fields[i + 1])
      if (name === 'x-envoy-upstream-rq-timeout-ms' && value >= 0) timeout = value
      else if (name === 'x-envoy-upstream-rq-per-try-timeout-ms' && value > 0) perTry = value
      else if (!SPENT.has(name)) continue
      fields.splice(i, 2)
    }
    this.#timeout = timeout
    this.#perTry = timeout > 0 && perTry >= timeout ? 0 : perTry
    const expected = this.#perTry || timeout
    const { routingFields } = exchange.chain
    if (expected > 0 && routingFields) setField(fields, 'x-envoy-expected-rq-timeout-ms', String(Math.ceil(expected)))
    if (route.attemptCount) setField(fields, 'x-envoy-attempt-count', '1')
    // An upgraded connection ends with its client: no time runs before.
    this.#ended = !request.hasBody && !request.upgrade
  }

  /** Sends the request; the exchange knows its router by now, for this may answer at once. */
  start(): void {
    const { context } = this.#exchange
    for (const { cluster: name, fraction, shadowSuffix } of this.#route.mirrors) {
      const other = context.config.usable(name)
      // Copies do not wait; those that come later find it.
      if (!other) context.config.awaitCluster(name, () => {})
      else if (context.random() < fraction)
        this.#shadows.push(new Shadow(this.#exchange, other, { suffix: shadowSuffix, timeout: this.#timeout }))
    }
    this.#attempt()
    if (this.#ended) this.#startTimer()
  }

  /** The host of the try that is under way, or of the last one. */
  get host(): Host | undefined {
    return this.#try?.host
  }

  get tries(): number {
    return this.#tries
  }

  get local(): string {
    return this.#try?.upstream?.local ?? ''
  }

  data(chunk: Buffer): void {
    if (this.#over) return
    for (const shadow of this.#shadows) shadow.data(chunk)
    const upstream = this.#try?.upstream
    if (this.#replay) {
      this.#replaySize += chunk.length
      // Between two tries all that comes is kept, for the next begins with it; when there is much, its sender waits.
      if (upstream && this.#replaySize > REPLAY_LIMIT) this.#replay = undefined
      else this.#replay.push(chunk)
    }
    if (upstream ? !upstream.write(chunk) : this.#replaySize > REPLAY_LIMIT) this.#exchange.pauseRequest()
  }

  end(trailers: readonly string[] | undefined): void {
    if (this.#over) return
    this.#ended = true
    this.#trailers = trailers
    for (const shadow of this.#shadows) shadow.end(trailers)
    this.#try?.upstream?.end(trailers)
    this.#startTimer()
  }

  resume(): void {
    this.#try?.upstream?.resume()
  }

  /** The exchange is over, one way or the other. */
  stop(): void {
    if (this.#over) return
    this.#over = true
    this.#deadline?.cancel()
    clearTimeout(this.#backOff)
    this.#releaseRetry()
    this.#try?.cancel()
    this.#replay = undefined
    if (!this.#ended) for (const shadow of this.#shadows) shadow.cancel()
  }

  /** The whole request is here: its time runs. */
  #startTimer(): void {
    if (this.#timeout > 0 && !this.#over) this.#deadline = new Deadline(this.#timeout, () => this.#timedOut())
  }

  #attempt(): void {
    const { context, request, source } = this.#exchange
    const cluster = this.#cluster
    const { config } = cluster
    this.#tries++
    const host =
      config.type === 'originalDst'
        ? cluster.passthrough(source.host, source.port)
        : cluster.pick(context.random, this.#hash, this.#avoid, this.#policy?.hostAttempts, this.#without)
    if (!host) {
      cluster.count('upstream_cx_none_healthy')
      return this.#local(503, 'UH', 'no_healthy_upstream', 'no healthy upstream')
    }
    if (cluster.requests >= config.breakers.requests) {
      cluster.count('upstream_rq_pending_overflow')
      return this.#failed('overflow', 'requests', undefined)
    }
    if (this.#tries > 1 && this.#route.attemptCount)
      setField(request.fields, 'x-envoy-attempt-count', String(this.#tries))
    if (this.#route.rewrite?.autoHost && host.endpoint.hostname) {
      request.authority = this.#asked
      rewriteHost(request, host.endpoint.hostname, this.#route.tellsHost)
    }
    const attempt = new Try(this, host, this.#perTry)
    this.#try = attempt
    const upstream = poolFor(context, config, request).request(host, request, attempt, this.#stale > 0)
    attempt.upstream = upstream
    if (this.#tries > 1 || this.#stale > 0) this.#replayOn(upstream)
  }

  /** Sends again what has come of the body; what is not there yet follows. */
  #replayOn(upstream: Upstream): void {
    let room = true
    for (const chunk of this.#replay ?? []) room = upstream.write(chunk) && room
    if (this.#replaySize > REPLAY_LIMIT) this.#replay = undefined
    if (!this.#ended) {
      if (room) this.#exchange.resumeRequest()
    } else if (this.#exchange.request.hasBody) upstream.end(this.#trailers)
  }

  /** For tries: a head has come. */
  onHead(attempt: Try, status: number, fields: string[], end: boolean): void {
    const { request } = this.#exchange
    this.#cluster.report(attempt.host, status)
    countStatus(this.#cluster, status)
    if (this.#policy && status !== 101) {
      const outcome: Outcome = { kind: 'response', status, fields, grpc: isGrpc(fields) }
      if (this.#mayRetry(outcome)) {
        attempt.drop(end)
        return this.#retry(attempt.host)
      }
    }
    this.#releaseRetry()
    if (this.#notRetried) this.#exchange.addFlag(this.#notRetried)
    if (this.#route.attemptCountInResponse) fields.push('x-envoy-attempt-count', String(this.#tries))
    if (status === 101 && !request.upgrade)
      return this.#local(
        502,
        'UPE',
        'upstream_reset_before_response_started{protocol_error}',
        'upstream connect error or disconnect/reset before headers. reset reason: protocol error',
      )
    // From here on nothing is sent again.
    this.#replay = undefined
    this.#exchange.respond(status, fields, end)
  }

  onData(chunk: Buffer): void {
    if (!this.#exchange.responseData(chunk)) this.#try?.upstream?.pause()
  }

  onEnd(trailers: readonly string[] | undefined): void {
    this.#exchange.responseEnd(trailers)
  }

  onDrain(): void {
    this.#exchange.resumeRequest()
  }

  /** For tries: one has failed. */
  onError(attempt: Try, failure: UpstreamFailure, reason: string, reused: boolean): void {
    if (failure !== 'overflow') this.#cluster.report(attempt.host, 0)
    if (this.#exchange.responded)
      return this.#exchange.abort(FLAGS[failure], `upstream_reset_after_response_started{${DETAILS[failure]}}`)
    // The server had just closed a connection it was done with, or says that it has done nothing (RFC 9113, 8.7): a
    // stream it refuses, or one it did not know of when it said GOAWAY.
    const closing = failure === 'reset' && reused && IDEMPOTENT.has(this.#exchange.request.method)
    const unread = closing || failure === 'refused'
    if (unread && this.#replay && this.#stale < STALE_TRIES) {
      this.#stale++
      // Whoever has retries for this has them counted.
      if (!this.#policy || !wantsRetry(this.#policy, { kind: 'failure', failure, sent: true })) {
        this.#tries--
        return this.#attempt()
      }
    }
    this.#failed(failure, reason, attempt.host)
  }

  #failed(failure: UpstreamFailure, reason: string, host: Host | undefined): void {
    const sent = failure !== 'connect' && failure !== 'timeout' && failure !== 'overflow'
    if (this.#mayRetry({ kind: 'failure', failure, sent })) return this.#retry(host)
    // Clients are not told more than that; operators are.
    const cause = failure === 'connect' ? reason.replaceAll(' ', '_') : ''
    this.#exchange.upstreamFailure = cause
    const details = `upstream_reset_before_response_started{${DETAILS[failure]}${cause && `|${cause}`}}`
    const status = failure === 'protocol' ? 502 : 503
    countStatus(this.#cluster, status)
    this.#exchange.reply({
      status,
      flags: this.#flagged(FLAGS[failure]),
      details,
      body: `upstream connect error or disconnect/reset before headers. ${this.#tries > 1 ? 'retried and the latest ' : ''}reset reason: ${REASONS[failure]}`,
      ...(failure === 'overflow' && this.#exchange.chain.routingFields
        ? { fields: ['x-envoy-overloaded', 'true'] }
        : {}),
    })
  }

  /** For tries: one takes too long. */
  onPerTryTimeout(attempt: Try): void {
    attempt.cancel()
    attempt.host.stats.timeouts++
    this.#cluster.report(attempt.host, 504)
    if (this.#exchange.responded) return this.#exchange.abort('UT', 'upstream_per_try_timeout')
    if (this.#mayRetry({ kind: 'perTryTimeout' })) return this.#retry(attempt.host)
    this.#local(504, this.#flagged('UT'), 'upstream_per_try_timeout', 'upstream request timeout')
  }

  #mayRetry(outcome: Outcome): boolean {
    const policy = this.#policy
    if (!policy || this.#over || !wantsRetry(policy, outcome) || this.#exchange.request.upgrade) return false
    this.#releaseRetry()
    if (this.#tries > policy.retries || !this.#replay) {
      if (policy.retries > 0) {
        if (this.#tries > policy.retries) this.#notRetried = 'URX'
        this.#cluster.count('upstream_rq_retry_limit_exceeded')
      }
      return false
    }
    if (!this.#cluster.bearsRetry) {
      this.#notRetried = 'UO'
      this.#cluster.count('upstream_rq_retry_overflow')
      return false
    }
    return true
  }

  #flagged(flag: string): string {
    return this.#notRetried && this.#notRetried !== flag ? `${this.#notRetried},${flag}` : flag
  }

  #retry(host: Host | undefined): void {
    this.#cluster.retries++
    this.#retryHeld = true
    this.#cluster.count('upstream_rq_retry')
    const policy = this.#policy!
    if (host && policy.avoidPrevious) {
      this.#avoid ??= new Set()
      this.#avoid.add(host)
    }
    if (host && policy.prioritiesAfter > 0) {
      this.#tried ??= new Set()
      this.#tried.add(host.endpoint.priority)
      if (this.#tries % policy.prioritiesAfter === 0) this.#without = new Set(this.#tried)
    }
    this.#try = undefined
    this.#backOff = setTimeout(
      () => {
        if (!this.#over) this.#attempt()
      },
      backOff(policy, this.#tries, this.#exchange.context.random()),
    )
  }

  #releaseRetry(): void {
    if (!this.#retryHeld) return
    this.#retryHeld = false
    this.#cluster.retries--
  }

  #timedOut(): void {
    const attempt = this.#try
    if (attempt) {
      attempt.host.stats.timeouts++
      attempt.cancel()
      if (!this.#exchange.responded) this.#cluster.report(attempt.host, 504)
    }
    this.#cluster.count('upstream_rq_timeout')
    if (this.#exchange.responded) return this.#exchange.abort('UT', 'response_timeout')
    this.#local(504, 'UT', 'response_timeout', 'upstream request timeout')
  }

  #local(status: number, flags: string, details: string, body: string): void {
    countStatus(this.#cluster, status)
    this.#exchange.reply({ status, flags, details, body })
  }
}

/** What a request asks of the proxy is not told to servers. */
const SPENT = new Set([
  'x-envoy-retry-on',
  'x-envoy-retry-grpc-on',
  'x-envoy-max-retries',
  'x-envoy-hedge-on-per-try-timeout',
])

const GRPC_UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000_001 }

/** Milliseconds; a gRPC client's own deadline counts where the route lets it. */
function timeoutOf(route: Route, fields: readonly string[]): number {
  if (route.grpcTimeoutMax === undefined) return route.timeout
  const m = /^(\d{1,8})([HMSmun])$/.exec(fieldOf(fields, 'grpc-timeout') ?? '')
  if (!m) return route.timeout
  const asked = Number(m[1]) * GRPC_UNITS[m[2]!]!
  return route.grpcTimeoutMax > 0 ? Math.min(asked, route.grpcTimeoutMax) : asked
}

const CLASSES = ['', 'upstream_rq_1xx', 'upstream_rq_2xx', 'upstream_rq_3xx', 'upstream_rq_4xx', 'upstream_rq_5xx']

function countStatus({ stats }: ClusterState, status: number): void {
  const name = CLASSES[(status / 100) | 0] ?? ''
  stats[name] = (stats[name] ?? 0) + 1
}

/** One try of a request. */
class Try implements UpstreamEvents {
  readonly #router: Router
  readonly host: Host
  upstream: Upstream | undefined
  #deadline: Deadline | undefined
  #over = false

  constructor(router: Router, host: Host, timeout: number) {
    this.#router = router
    this.host = host
    host.active++
    host.stats.requests++
    host.cluster.began()
    if (timeout > 0) this.#deadline = new Deadline(timeout, () => router.onPerTryTimeout(this))
  }

  onHead(status: number, fields: string[], end: boolean): void {
    if (this.#over) return
    if (end) this.#finish()
    else this.#deadline?.cancel()
    this.#router.onHead(this, status, fields, end)
  }

  onData(chunk: Buffer): void {
    if (!this.#over) this.#router.onData(chunk)
  }

  onEnd(trailers: readonly string[] | undefined): void {
    if (this.#over) return
    this.#finish()
    this.#router.onEnd(trailers)
  }

  onDrain(): void {
    if (!this.#over) this.#router.onDrain()
  }

  onError(failure: UpstreamFailure, reason: string, reused: boolean): void {
    if (this.#over) return
    this.#finish()
    this.#router.onError(this, failure, reason, reused)
  }

  /** Nobody waits for the answer any more. */
  cancel(): void {
    if (this.#over) return
    const { upstream } = this
    this.#finish()
    upstream?.cancel()
  }

  /** Its answer is not passed on; `complete` when it was no more than a head. */
  drop(complete: boolean): void {
    if (!complete) this.cancel()
  }

  #finish(): void {
    this.#over = true
    this.#deadline?.cancel()
    this.host.active--
    this.host.cluster.requests--
  }
}
