// Istio's standard metrics in Prometheus form. Hot path: one map look-up a request.

/** Who this proxy stands for. */
export interface LocalWorkload {
  readonly workload: string
  readonly namespace: string
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly app: string
  readonly version: string
}

/** The other side, "unknown" where nothing is known. */
export interface Peer {
  readonly workload: string
  readonly namespace: string
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly app: string
  readonly version: string
  readonly cluster: string
}

export const UNKNOWN_PEER: Peer = {
  workload: 'unknown',
  namespace: 'unknown',
  canonicalName: 'unknown',
  canonicalRevision: 'unknown',
  app: 'unknown',
  version: 'unknown',
  cluster: 'unknown',
}

/** Bucket bounds of Istio's histograms, milliseconds. */
const BUCKETS = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000,
  3_600_000,
]

interface Series {
  labels: string
  requests: number
  durationSum: number
  buckets: number[]
}

export interface RequestRecord {
  readonly inbound: boolean
  readonly peer: Peer
  readonly service: { host: string; name: string; namespace: string }
  readonly protocol: 'http' | 'grpc'
  readonly code: number
  readonly flags: string
  readonly grpcStatus: string
  readonly durationMs: number
}

/** At most this many series; beyond it requests are counted under the last one. */
const SERIES_LIMIT = 5000

export class Stats {
  readonly #local: LocalWorkload
  readonly #series = new Map<string, Series>()
  readonly #tcp = new Map<string, { opened: number; closed: number; sent: number; received: number }>()
  readonly counters = { downstreamConnections: 0, downstreamActive: 0, upstreamConnections: 0, requests: 0 }

  constructor(local: LocalWorkload) {
    this.#local = local
  }

  record(r: RequestRecord): void {
    this.counters.requests++
    const key = `${r.inbound ? 1 : 0}|${r.peer.workload}|${r.peer.namespace}|${r.peer.canonicalRevision}|${r.service.host}|${r.protocol}|${r.code}|${r.flags}|${r.grpcStatus}`
    let series = this.#series.get(key)
    if (!series) {
      if (this.#series.size >= SERIES_LIMIT) return
      series = {
        labels: this.#labels(r),
        requests: 0,
        durationSum: 0,
        buckets: new Array<number>(BUCKETS.length).fill(0),
      }
      this.#series.set(key, series)
    }
    series.requests++
    series.durationSum += r.durationMs
    for (let i = BUCKETS.length - 1; i >= 0 && r.durationMs <= BUCKETS[i]!; i--) series.buckets[i]!++
  }

  recordTcp(
    inbound: boolean,
    service: string,
    change: { opened?: number; closed?: number; sent?: number; received?: number },
  ): void {
    const key = `reporter="${inbound ? 'destination' : 'source'}",destination_service="${quote(service || 'unknown')}",request_protocol="tcp"`
    let entry = this.#tcp.get(key)
    if (!entry) {
      entry = { opened: 0, closed: 0, sent: 0, received: 0 }
      this.#tcp.set(key, entry)
    }
    entry.opened += change.opened ?? 0
    entry.closed += change.closed ?? 0
    entry.sent += change.sent ?? 0
    entry.received += change.received ?? 0
  }

  #labels(r: RequestRecord): string {
    const l = this.#local
    const own: Peer = { ...l, cluster: 'Kubernetes' }
    const [source, destination] = r.inbound ? [r.peer, own] : [own, r.peer]
    const pairs: [string, string][] = [
      ['reporter', r.inbound ? 'destination' : 'source'],
      ['source_workload', source.workload],
      ['source_workload_namespace', source.namespace],
      ['source_principal', 'unknown'],
      ['source_app', source.app],
      ['source_version', source.version],
      ['source_canonical_service', source.canonicalName],
      ['source_canonical_revision', source.canonicalRevision],
      ['source_cluster', source.cluster],
      ['destination_workload', destination.workload],
      ['destination_workload_namespace', destination.namespace],
      ['destination_principal', 'unknown'],
      ['destination_app', destination.app],
      ['destination_version', destination.version],
      ['destination_service', r.service.host],
      ['destination_canonical_service', destination.canonicalName],
      ['destination_canonical_revision', destination.canonicalRevision],
      ['destination_service_name', r.service.name],
      ['destination_service_namespace', r.service.namespace],
      ['destination_cluster', destination.cluster],
      ['request_protocol', r.protocol],
      ['response_code', String(r.code)],
      ['grpc_response_status', r.grpcStatus],
      ['response_flags', r.flags],
      ['connection_security_policy', r.inbound ? 'none' : 'unknown'],
    ]
    return pairs.map(([k, v]) => `${k}="${quote(v || (k === 'grpc_response_status' ? '' : 'unknown'))}"`).join(',')
  }

  /** The exposition text. */
  render(): string {
    const lines: string[] = ['# TYPE istio_requests_total counter']
    for (const s of this.#series.values()) lines.push(`istio_requests_total{${s.labels}} ${s.requests}`)
    lines.push('# TYPE istio_request_duration_milliseconds histogram')
    for (const s of this.#series.values()) {
      for (const [i, bound] of BUCKETS.entries())
        lines.push(`istio_request_duration_milliseconds_bucket{${s.labels},le="${bound}"} ${s.buckets[i]}`)
      lines.push(`istio_request_duration_milliseconds_bucket{${s.labels},le="+Inf"} ${s.requests}`)
      lines.push(
        `istio_request_duration_milliseconds_sum{${s.labels}} ${s.durationSum.toFixed(3)}`,
        `istio_request_duration_milliseconds_count{${s.labels}} ${s.requests}`,
      )
    }
    for (const [metric, key] of [
      ['opened', 'opened'],
      ['closed', 'closed'],
    ] as const) {
      lines.push(`# TYPE istio_tcp_connections_${metric}_total counter`)
      for (const [labels, v] of this.#tcp) lines.push(`istio_tcp_connections_${metric}_total{${labels}} ${v[key]}`)
    }
    for (const metric of ['sent', 'received'] as const) {
      lines.push(`# TYPE istio_tcp_${metric}_bytes_total counter`)
      for (const [labels, v] of this.#tcp) lines.push(`istio_tcp_${metric}_bytes_total{${labels}} ${v[metric]}`)
    }
    lines.push('# TYPE istio_build gauge', 'istio_build{component="proxy",tag="sampan"} 1', '')
    return lines.join('\n')
  }
}

const quote = (text: string) => text.replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))

/** Reads "workload;namespace;canonical name;revision;cluster". */
export function parseWorkload(text: string): Peer {
  if (!text) return UNKNOWN_PEER
  const known = peers.get(text)
  if (known) return known
  const [workload = '', namespace = '', canonicalName = '', canonicalRevision = '', cluster = ''] = text.split(';')
  const peer: Peer = {
    workload: workload || 'unknown',
    namespace: namespace || 'unknown',
    canonicalName: canonicalName || 'unknown',
    canonicalRevision: canonicalRevision || 'unknown',
    app: canonicalName || 'unknown',
    version: canonicalRevision || 'unknown',
    cluster: cluster || 'unknown',
  }
  if (peers.size > 1000) peers.clear()
  peers.set(text, peer)
  return peer
}

const peers = new Map<string, Peer>()
