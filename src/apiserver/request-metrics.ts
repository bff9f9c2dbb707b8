// What the API server counts of its requests, under upstream's names, in Prometheus' text form.

import { readdirSync } from 'node:fs'

/** Upper bounds of the latency buckets, seconds (apiserver_request_duration_seconds). */
const BUCKETS = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60]

/** What is known of a request when it ends. */
export interface RequestLabels {
  readonly verb: string
  readonly group: string
  readonly version: string
  readonly resource: string
  readonly subresource: string
  readonly scope: 'cluster' | 'namespace' | 'resource' | ''
  readonly dryRun: boolean
}

interface Durations {
  readonly counts: number[]
  sum: number
  count: number
}

/** Verbs that last as long as the client likes. */
const LONG = new Set(['WATCH', 'CONNECT'])
const MUTATING = new Set(['POST', 'PUT', 'PATCH', 'APPLY', 'DELETE', 'DELETECOLLECTION'])

export class RequestMetrics {
  readonly #requests = new Map<string, number>()
  readonly #durations = new Map<string, Durations>()
  readonly #long = new Map<string, number>()
  #mutating = 0
  #reading = 0

  /** A request begins; call what is returned with the answer's code when it ends. */
  begin(labels: RequestLabels): (code: number) => void {
    const started = performance.now()
    const { verb, group, version, resource, subresource, scope } = labels
    const long = LONG.has(verb)
    const at = `component="apiserver",group="${group}",resource="${resource}",scope="${scope}",subresource="${subresource}",verb="${verb}",version="${version}"`
    const kind = MUTATING.has(verb)
    if (long) this.#long.set(at, (this.#long.get(at) ?? 0) + 1)
    else if (kind) this.#mutating++
    else this.#reading++
    return (code) => {
      if (long) this.#long.set(at, (this.#long.get(at) ?? 1) - 1)
      else if (kind) this.#mutating--
      else this.#reading--
      const key = `code="${code}",${at},dry_run="${labels.dryRun ? 'All' : ''}"`
      this.#requests.set(key, (this.#requests.get(key) ?? 0) + 1)
      if (!long) this.#observe(at, (performance.now() - started) / 1000)
    }
  }

  #observe(at: string, seconds: number): void {
    let d = this.#durations.get(at)
    if (!d) {
      d = { counts: BUCKETS.map(() => 0), sum: 0, count: 0 }
      this.#durations.set(at, d)
    }
    d.sum += seconds
    d.count++
    const i = BUCKETS.findIndex((b) => seconds <= b)
    if (i >= 0) d.counts[i]!++
  }

  /** The page of /metrics. `objects`: how many of each resource are stored; `queue`: who waits, who was refused. */
  render(
    version: string,
    objects: readonly (readonly [resource: string, count: number])[],
    queue: { waiting: number; rejected: number },
  ): string {
    const out: string[] = []
    const family = (name: string, type: string, help: string, lines: readonly string[]) => {
      if (lines.length > 0) out.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines)
    }
    family(
      'apiserver_request_total',
      'counter',
      'Requests by verb, resource and answer.',
      [...this.#requests].map(([labels, n]) => `apiserver_request_total{${labels}} ${n}`),
    )
    family(
      'apiserver_request_duration_seconds',
      'histogram',
      'How long requests took, without watches and streams.',
      [...this.#durations].flatMap(([labels, d]) => {
        let sum = 0
        const name = 'apiserver_request_duration_seconds'
        return [
          ...BUCKETS.map((b, i) => `${name}_bucket{${labels},le="${b}"} ${(sum += d.counts[i]!)}`),
          `${name}_bucket{${labels},le="+Inf"} ${d.count}`,
          `${name}_sum{${labels}} ${d.sum}`,
          `${name}_count{${labels}} ${d.count}`,
        ]
      }),
    )
    family('apiserver_current_inflight_requests', 'gauge', 'Requests under way.', [
      `apiserver_current_inflight_requests{request_kind="mutating"} ${this.#mutating}`,
      `apiserver_current_inflight_requests{request_kind="readOnly"} ${this.#reading}`,
    ])
    family(
      'apiserver_longrunning_requests',
      'gauge',
      'Watches and streams under way.',
      [...this.#long].map(([labels, n]) => `apiserver_longrunning_requests{${labels}} ${n}`),
    )
    family(
      'apiserver_storage_objects',
      'gauge',
      'Stored objects by resource.',
      objects.map(([resource, n]) => `apiserver_storage_objects{resource="${resource}"} ${n}`),
    )
    family('kubernetes_build_info', 'gauge', 'The version served.', [
      `kubernetes_build_info{git_version="${version}",platform="linux/${process.arch}"} 1`,
    ])
    const { rss, heapUsed } = process.memoryUsage()
    const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage()
    const gauge = (name: string, help: string, value: number, type = 'gauge') =>
      family(name, type, help, [`${name} ${value}`])
    gauge('apiserver_flowcontrol_current_inqueue_requests', 'Requests that wait for their turn.', queue.waiting)
    const refused = 'apiserver_flowcontrol_rejected_requests_total'
    gauge(refused, 'Requests refused with 429.', queue.rejected, 'counter')
    gauge('process_resident_memory_bytes', 'Resident memory.', rss)
    gauge('process_max_resident_memory_bytes', 'The most resident memory there was.', maxRSS * 1024)
    gauge('process_cpu_seconds_total', 'CPU time used.', (userCPUTime + systemCPUTime) / 1e6, 'counter')
    gauge('process_start_time_seconds', 'When the process began.', Math.round(Date.now() / 1000 - process.uptime()))
    gauge('process_open_fds', 'Open file descriptors.', openFiles())
    gauge('nodejs_heap_size_used_bytes', 'Heap in use.', heapUsed)
    return `${out.join('\n')}\n`
  }
}

function openFiles(): number {
  try {
    return readdirSync('/proc/self/fd').length
  } catch {
    return 0
  }
}
