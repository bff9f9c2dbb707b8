// Clusters, listeners and counters as Envoy's admin interface shows them. Pure.

import type { ConfigStore } from '../config/config-store.ts'
import type { Stats } from '../telemetry/stats.ts'
import type { ClusterState } from '../upstream/cluster-state.ts'
import type { Host } from '../upstream/host.ts'

const hostStats = (h: Host): [string, number][] => [
  ['cx_active', h.connections],
  ['cx_connect_fail', h.stats.connectFailures],
  ['cx_total', h.stats.connections],
  ['rq_active', h.active],
  ['rq_error', h.stats.error],
  ['rq_success', h.stats.success],
  ['rq_timeout', h.stats.timeouts],
  ['rq_total', h.stats.requests],
]

function healthFlags(h: Host): string {
  const flags = [
    ...(h.checked ? [] : ['/failed_active_hc']),
    ...(h.ejected ? ['/failed_outlier_check'] : []),
    ...(h.endpoint.health === 'unhealthy' ? ['/failed_eds_health'] : []),
    ...(h.endpoint.health === 'degraded' ? ['/degraded_eds_health'] : []),
  ]
  return flags.join('') || 'healthy'
}

/** /clusters as text. */
export function clustersText(config: ConfigStore): string {
  const lines: string[] = []
  for (const [name, cluster] of config.clusters) {
    const { breakers } = cluster.config
    lines.push(`${name}::observability_name::${name}`)
    lines.push(`${name}::default_priority::max_connections::${breakers.connections}`)
    lines.push(`${name}::default_priority::max_pending_requests::${breakers.pending}`)
    lines.push(`${name}::default_priority::max_requests::${breakers.requests}`)
    lines.push(`${name}::default_priority::max_retries::${breakers.retries}`)
    lines.push(`${name}::added_via_api::true`)
    if (cluster.config.type === 'eds') lines.push(`${name}::eds_service_name::${cluster.config.edsName}`)
    for (const host of cluster.hosts.values()) {
      const at = `${name}::${host.key}`
      for (const [stat, value] of hostStats(host)) lines.push(`${at}::${stat}::${value}`)
      const { endpoint } = host
      const [region = '', zone = '', sub = ''] = endpoint.locality.split('/')
      lines.push(`${at}::hostname::${endpoint.hostname}`, `${at}::health_flags::${healthFlags(host)}`)
      lines.push(`${at}::weight::${endpoint.weight}`, `${at}::region::${region}`, `${at}::zone::${zone}`)
      lines.push(`${at}::sub_zone::${sub}`, `${at}::canary::false`, `${at}::priority::${endpoint.priority}`)
      lines.push(`${at}::success_rate::-1`, `${at}::local_origin_success_rate::-1`)
    }
  }
  return `${lines.join('\n')}\n`
}

const EDS_HEALTH = { healthy: 'HEALTHY', unhealthy: 'UNHEALTHY', draining: 'DRAINING', degraded: 'DEGRADED' } as const

/** /clusters?format=json (envoy.admin.v3.Clusters). */
export function clustersJson(config: ConfigStore): unknown {
  return {
    cluster_statuses: [...config.clusters].map(([name, cluster]) => ({
      name,
      added_via_api: true,
      observability_name: name,
      ...(cluster.config.type === 'eds' ? { eds_service_name: cluster.config.edsName } : {}),
      circuit_breakers: {
        thresholds: [
          {
            max_connections: cluster.config.breakers.connections,
            max_pending_requests: cluster.config.breakers.pending,
            max_requests: cluster.config.breakers.requests,
            max_retries: cluster.config.breakers.retries,
          },
        ],
      },
      host_statuses: [...cluster.hosts.values()].map((h) => {
        const [region = '', zone = '', sub = ''] = h.endpoint.locality.split('/')
        return {
          address:
            h.endpoint.port === 0
              ? { pipe: { path: h.endpoint.host } }
              : { socket_address: { address: h.endpoint.host, port_value: h.endpoint.port } },
          stats: hostStats(h).map(([stat, value]) => ({
            name: stat,
            ...(value ? { value: String(value) } : {}),
            ...(stat.endsWith('active') ? { type: 'GAUGE' } : {}),
          })),
          health_status: {
            eds_health_status: EDS_HEALTH[h.endpoint.health],
            ...(h.checked ? {} : { failed_active_health_check: true }),
            ...(h.ejected ? { failed_outlier_check: true } : {}),
          },
          weight: h.endpoint.weight,
          ...(h.endpoint.hostname ? { hostname: h.endpoint.hostname } : {}),
          ...(h.endpoint.priority ? { priority: h.endpoint.priority } : {}),
          locality: { ...(region ? { region } : {}), ...(zone ? { zone } : {}), ...(sub ? { sub_zone: sub } : {}) },
        }
      }),
    })),
  }
}

export function listenersText(config: ConfigStore): string {
  return [...config.listeners.values()].map((l) => `${l.name}::${l.address}:${l.port}\n`).join('')
}

/** envoy.admin.v3.Listeners. */
export function listenersJson(config: ConfigStore): unknown {
  return {
    listener_statuses: [...config.listeners.values()].map((l) => ({
      name: l.name,
      local_address: { socket_address: { address: l.address, port_value: l.port } },
    })),
  }
}

/** Counters of a cluster that are there from the start. */
const CLUSTER_STATS = [
  'upstream_cx_total',
  'upstream_cx_connect_fail',
  'upstream_cx_overflow',
  'upstream_rq_total',
  'upstream_rq_2xx',
  'upstream_rq_4xx',
  'upstream_rq_5xx',
  'upstream_rq_pending_overflow',
  'upstream_rq_pending_failure_eject',
  'upstream_rq_pending_total',
  'upstream_rq_retry',
  'upstream_rq_timeout',
]

/** Gauges that say whether a breaker of a cluster is open. */
const BREAKERS: readonly [string, (c: ClusterState) => boolean][] = [
  ['cx_open', (c) => c.connections >= c.config.breakers.connections],
  ['rq_open', (c) => c.requests >= c.config.breakers.requests],
  ['rq_pending_open', (c) => c.pending >= c.config.breakers.pending],
  ['rq_retry_open', (c) => c.retries >= c.config.breakers.retries],
]

const gauges = (c: ClusterState): [string, number][] => [
  ['upstream_cx_active', c.connections],
  ['upstream_rq_active', c.requests],
  ['upstream_rq_pending_active', c.pending],
  ...BREAKERS.map(([name, full]): [string, number] => [`circuit_breakers.default.${name}`, Number(full(c))]),
  ...BREAKERS.map(([name]): [string, number] => [`circuit_breakers.high.${name}`, 0]),
  ['membership_total', c.hosts.size],
  ['membership_healthy', [...c.hosts.values()].filter((h) => h.usable).length],
  ['outlier_detection.ejections_active', [...c.hosts.values()].filter((h) => h.ejected).length],
]

/** All counters and gauges under Envoy's names. */
export function statRows(config: ConfigStore, stats: Stats, connected: boolean): [string, number][] {
  const rows: [string, number][] = []
  for (const [name, cluster] of config.clusters) {
    const all = new Map<string, number>(CLUSTER_STATS.map((s) => [s, 0]))
    for (const [stat, value] of [...Object.entries(cluster.stats), ...gauges(cluster)]) all.set(stat, value)
    for (const [stat, value] of all) rows.push([`cluster.${name}.${stat}`, value])
  }
  const { counters } = stats
  rows.push(
    ['control_plane.connected_state', connected ? 1 : 0],
    ['http.downstream_cx_total', counters.downstreamConnections],
    ['http.downstream_cx_active', counters.downstreamActive],
    ['http.downstream_rq_total', counters.requests],
    ['http.downstream_rq_active', counters.downstreamRequestsActive],
    ['http.downstream_cx_protocol_error', counters.protocolErrors],
    ['listener_manager.total_listeners_active', config.listeners.size],
    ['cluster_manager.active_clusters', config.clusters.size],
    ['server.live', 1],
    ['server.uptime', Math.floor((Date.now() - stats.started) / 1000)],
    ['server.memory_allocated', process.memoryUsage.rss()],
  )
  return rows.sort(([a], [b]) => (a < b ? -1 : 1))
}

/** Envoy's own stats in Prometheus form: what names a cluster becomes a label. */
export function envoyPrometheus(rows: readonly (readonly [string, number])[]): string {
  const families = new Map<string, string[]>()
  for (const [name, value] of rows) {
    const m = /^cluster\.(.*)\.(upstream_\w+|membership_\w+|outlier_detection\.\w+|circuit_breakers\.[\w.]+)$/.exec(
      name,
    )
    const family = `envoy_${(m ? `cluster_${m[2]}` : name).replace(/[^A-Za-z0-9_]/g, '_')}`
    const labels = m ? `{cluster_name="${m[1]!.replace(/[\\"]/g, '\\$&')}"}` : ''
    const lines = families.get(family)
    if (lines) lines.push(`${family}${labels} ${value}`)
    else families.set(family, [`${family}${labels} ${value}`])
  }
  return [...families]
    .map(
      ([family, lines]) =>
        `# TYPE ${family} ${/active|_open|_healthy|membership|uptime|live|state|memory/.test(family) ? 'gauge' : 'counter'}\n${lines.join('\n')}\n`,
    )
    .join('')
}
