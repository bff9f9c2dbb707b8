// Istio's standard metrics in Prometheus form. Hot path: one look-up a request.

import type { Source } from '../http/source.ts'
import type { LocalWorkload, Peer } from './peer.ts'
import type { Counters, HistogramTally, StatsTally, TcpSeries } from './stats-tally.ts'

/** Bucket bounds of Istio's histograms, milliseconds. */
const BUCKETS = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000,
  3_600_000,
]

/** Bucket bounds of Istio's histograms of sizes, bytes. */
const SIZES = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000]

/** Counts by bounds; what is larger than the last counts only in all. */
class Histogram {
  readonly #bounds: readonly number[]
  readonly #buckets: number[]
  sum = 0
  count = 0

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.#buckets = new Array<number>(bounds.length).fill(0)
  }

  add(value: number): void {
    this.sum += value
    this.count++
    const bounds = this.#bounds
    let i = 0
    while (i < bounds.length && value > bounds[i]!) i++
    if (i < bounds.length) this.#buckets[i]!++
  }

  tally(): HistogramTally {
    return { sum: this.sum, count: this.count, buckets: [...this.#buckets] }
  }

  show({ sum, count, buckets }: HistogramTally): void {
    this.sum = sum
    this.count = count
    for (const [i, n] of buckets.entries()) this.#buckets[i] = n
  }

  render(name: string, labels: string, lines: string[]): void {
    let below = 0
    for (const [i, bound] of this.#bounds.entries()) {
      below += this.#buckets[i]!
      lines.push(`${name}_bucket{${labels},le="${bound}"} ${below}`)
    }
    lines.push(`${name}_bucket{${labels},le="+Inf"} ${this.count}`)
    lines.push(`${name}_sum{${labels}} ${Number(this.sum.toFixed(3))}`, `${name}_count{${labels}} ${this.count}`)
  }
}

interface Series {
  readonly labels: string
  requests: number
  requestMessages: number
  responseMessages: number
  readonly grpc: boolean
  readonly duration: Histogram
  readonly requestBytes: Histogram
  readonly responseBytes: Histogram
}

interface Service {
  readonly host: string
  readonly name: string
  readonly namespace: string
}

export interface RequestRecord {
  readonly inbound: boolean
  readonly peer: Peer
  readonly service: Service
  readonly protocol: 'http' | 'grpc'
  readonly code: number
  readonly flags: string
  readonly grpcStatus: string
  readonly durationMs: number
  readonly requestBytes: number
  readonly responseBytes: number
  readonly requestMessages: number
  readonly responseMessages: number
  readonly source: Source
}

/** At most this many series; beyond it the rest is counted as one. */
const SERIES_LIMIT = 5000

export class Stats {
  readonly #local: LocalWorkload
  readonly hostname: string
  /** Series by peer, service, and what tells the rest apart. */
  readonly #series = new Map<Peer, Map<Service, Map<string, Series>>>()
  #all: Series[] = []
  readonly #tcp = new Map<string, TcpSeries>()
  readonly counters: Counters = {
    downstreamConnections: 0,
    downstreamActive: 0,
    downstreamRequestsActive: 0,
    inboundRequestsActive: 0,
    requests: 0,
    protocolErrors: 0,
  }
  readonly started = Date.now()

  constructor(local: LocalWorkload, hostname = '') {
    this.#local = local
    this.hostname = hostname
  }

  record(r: RequestRecord): void {
    this.counters.requests++
    const series = this.#seriesOf(r)
    series.requests++
    series.duration.add(r.durationMs)
    series.requestBytes.add(r.requestBytes)
    series.responseBytes.add(r.responseBytes)
    if (!series.grpc) return
    series.requestMessages += r.requestMessages
    series.responseMessages += r.responseMessages
  }

  #seriesOf(r: RequestRecord): Series {
    let services = this.#series.get(r.peer)
    if (!services) this.#series.set(r.peer, (services = new Map()))
    let rest = services.get(r.service)
    if (!rest) services.set(r.service, (rest = new Map()))
    const principal = r.source.tls?.peer?.uri ?? ''
    const key = `${r.inbound ? 1 : 0}${r.protocol}${r.code} ${r.flags} ${r.grpcStatus} ${principal}`
    let series = rest.get(key)
    if (!series) {
      if (this.#all.length >= SERIES_LIMIT) {
        // Whoever invents hosts or statuses does not fill our memory.
        const last = this.#all.at(-1)!
        rest.delete(key)
        return last
      }
      const full = this.#all.length === SERIES_LIMIT - 1
      series = {
        labels: full ? 'reporter="overflow"' : this.#labels(r),
        requests: 0,
        requestMessages: 0,
        responseMessages: 0,
        grpc: r.protocol === 'grpc',
        duration: new Histogram(BUCKETS),
        requestBytes: new Histogram(SIZES),
        responseBytes: new Histogram(SIZES),
      }
      rest.set(key, series)
      this.#all.push(series)
    }
    return series
  }

  /** The series of TCP connections between such ends. */
  tcp(inbound: boolean, peer: Peer, service: Service, flags: string, source: Source): TcpSeries {
    const labels = this.#labels({ inbound, peer, service, protocol: 'tcp', code: -1, flags, grpcStatus: '', source })
    let series = this.#tcp.get(labels)
    if (!series) {
      series = { labels, opened: 0, closed: 0, sent: 0, received: 0 }
      if (this.#tcp.size < SERIES_LIMIT) this.#tcp.set(labels, series)
    }
    return series
  }

  #labels(
    r: Pick<RequestRecord, 'inbound' | 'peer' | 'service' | 'code' | 'flags' | 'grpcStatus' | 'source'> & {
      readonly protocol: 'http' | 'grpc' | 'tcp'
    },
  ): string {
    const own: Peer = { ...this.#local, cluster: 'Kubernetes' }
    const [source, destination] = r.inbound ? [r.peer, own] : [own, r.peer]
    const { tls } = r.source
    // At the destination the peer is the source; Istio writes principals without their scheme's prefix.
    const name = (uri: string | undefined) => uri || 'unknown'
    const pairs: [string, string][] = [
      ['reporter', r.inbound ? 'destination' : 'source'],
      ['source_workload', source.workload],
      ['source_workload_namespace', source.namespace],
      ['source_principal', r.inbound ? name(tls?.peer?.uri) : 'unknown'],
      ['source_app', source.app],
      ['source_version', source.version],
      ['source_canonical_service', source.canonicalName],
      ['source_canonical_revision', source.canonicalRevision],
      ['source_cluster', source.cluster],
      ['destination_workload', destination.workload],
      ['destination_workload_namespace', destination.namespace],
      ['destination_principal', r.inbound ? name(tls?.peer ? tls.own : '') : 'unknown'],
      ['destination_app', destination.app],
      ['destination_version', destination.version],
      ['destination_service', r.service.host],
      ['destination_canonical_service', destination.canonicalName],
      ['destination_canonical_revision', destination.canonicalRevision],
      ['destination_service_name', r.service.name],
      ['destination_service_namespace', r.service.namespace],
      ['destination_cluster', destination.cluster],
      ['request_protocol', r.protocol],
      ...(r.protocol === 'tcp' ? [] : [['response_code', String(r.code)] as [string, string]]),
      ...(r.protocol === 'grpc' ? [['grpc_response_status', r.grpcStatus] as [string, string]] : []),
      ['response_flags', r.flags || '-'],
      ['connection_security_policy', r.inbound ? (tls?.peer ? 'mutual_tls' : 'none') : 'unknown'],
    ]
    return pairs.map(([k, v]) => `${k}="${quote(v || (k === 'grpc_response_status' ? '' : 'unknown'))}"`).join(',')
  }

  /** What has been counted, as plain values. */
  tally(): StatsTally {
    return {
      counters: { ...this.counters },
      series: this.#all.map((s) => ({
        ...s,
        duration: s.duration.tally(),
        requestBytes: s.requestBytes.tally(),
        responseBytes: s.responseBytes.tally(),
      })),
      tcp: [...this.#tcp.values()].map((s) => ({ ...s })),
    }
  }

  /** Shows what others have counted instead of its own. */
  show({ counters, series, tcp }: StatsTally): void {
    Object.assign(this.counters, counters)
    const filled = (bounds: readonly number[], tally: HistogramTally) => {
      const histogram = new Histogram(bounds)
      histogram.show(tally)
      return histogram
    }
    this.#all = series.map((s) => ({
      ...s,
      duration: filled(BUCKETS, s.duration),
      requestBytes: filled(SIZES, s.requestBytes),
      responseBytes: filled(SIZES, s.responseBytes),
    }))
    this.#tcp.clear()
    for (const s of tcp) this.#tcp.set(s.labels, { ...s })
  }

  /** The exposition text. */
  render(): string {
    const lines: string[] = []
    const counter = (name: string, rows: readonly { labels: string }[], value: (row: never) => number) => {
      lines.push(`# TYPE ${name} counter`)
      for (const row of rows) lines.push(`${name}{${row.labels}} ${value(row as never)}`)
    }
    counter('istio_requests_total', this.#all, (s: Series) => s.requests)
    for (const [name, of] of [
      ['istio_request_duration_milliseconds', 'duration'],
      ['istio_request_bytes', 'requestBytes'],
      ['istio_response_bytes', 'responseBytes'],
    ] as const) {
      lines.push(`# TYPE ${name} histogram`)
      for (const s of this.#all) s[of].render(name, s.labels, lines)
    }
    const grpc = this.#all.filter((s) => s.grpc)
    if (grpc.length > 0) {
      counter('istio_request_messages_total', grpc, (s: Series) => s.requestMessages)
      counter('istio_response_messages_total', grpc, (s: Series) => s.responseMessages)
    }
    const tcp = [...this.#tcp.values()]
    counter('istio_tcp_connections_opened_total', tcp, (s: TcpSeries) => s.opened)
    counter('istio_tcp_connections_closed_total', tcp, (s: TcpSeries) => s.closed)
    counter('istio_tcp_sent_bytes_total', tcp, (s: TcpSeries) => s.sent)
    counter('istio_tcp_received_bytes_total', tcp, (s: TcpSeries) => s.received)
    lines.push('# TYPE istio_build gauge', 'istio_build{component="proxy",tag="sampan"} 1', '')
    return lines.join('\n')
  }
}

const quote = (text: string) => text.replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))
