// Clusters and endpoints out of xDS.

import { ClusterType, fromDuration, fromStruct, HealthStatus, LbPolicy, unpackAny } from '#api/xds'
import type { Message } from '#wire'
import type { RetryBudgetConfig } from '../upstream/retry-budget.ts'
import { compileString, dataOf, refuse } from './matchers.ts'
import type {
  CircuitBreakers,
  Cluster,
  Endpoint,
  HealthCheck,
  Http2Options,
  LoadBalancer,
  OutlierDetection,
  TlsSecret,
  UpstreamTls,
} from './model.ts'

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
const UPSTREAM_TLS = 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'
const PROXY_PROTOCOL = 'envoy.transport_sockets.upstream_proxy_protocol'

const TYPES = {
  [ClusterType.static]: 'static',
  [ClusterType.strictDns]: 'strictDns',
  [ClusterType.logicalDns]: 'logicalDns',
  [ClusterType.eds]: 'eds',
  [ClusterType.originalDst]: 'originalDst',
} as const

/** envoy.config.cluster.v3.Cluster. Fails with BadResource. */
export function decodeCluster(m: Message): Cluster {
  const what = `cluster ${m.name}`
  if (!m.name) refuse('cluster', 'has no name')
  if (m.cluster_type) refuse(`${what}: cluster_type`, `${m.cluster_type.name} is not supported`)
  const type = TYPES[(m.type ?? 0) as keyof typeof TYPES] ?? refuse(`${what}: type`, `${m.type} is not supported`)
  const packed = m.typed_extension_protocol_options?.[HTTP_OPTIONS]
  const http = packed ? unpackAny(packed).value : {}
  const common = http.common_http_protocol_options ?? m.common_http_protocol_options ?? {}
  const services = (fromStruct(m.metadata?.filter_metadata?.istio).services ?? []) as Cluster['service'][]
  const lb = m.common_lb_config ?? {}
  const slow = m.round_robin_lb_config?.slow_start_config ?? m.least_request_lb_config?.slow_start_config
  return {
    name: m.name,
    type,
    edsName: m.eds_cluster_config?.service_name || m.name,
    inline: m.load_assignment ? decodeEndpoints(m.load_assignment).endpoints : [],
    balancer: decodeBalancer(m, what),
    protocol: protocolOf(http, m),
    portOverride: m.original_dst_lb_config?.upstream_port_override?.value ?? 0,
    connectTimeout: fromDuration(m.connect_timeout) ?? 5000,
    idleTimeout: fromDuration(common.idle_timeout) ?? 3_600_000,
    maxConnectionAge: fromDuration(common.max_connection_duration) ?? 0,
    maxRequestsPerConnection: common.max_requests_per_connection?.value ?? m.max_requests_per_connection?.value ?? 0,
    tcpKeepAlive: decodeTcpKeepAlive(m.upstream_connection_options?.tcp_keepalive),
    http2: decodeHttp2(http, m),
    service: services[0] ?? { host: '', name: '', namespace: '' },
    breakers: decodeBreakers(m.circuit_breakers),
    outlier: m.outlier_detection ? decodeOutlier(m.outlier_detection, http.outlier_detection, what) : undefined,
    healthChecks: ((m.health_checks ?? []) as Message[]).map((h) => decodeHealthCheck(h, m.name, what)),
    transportKey: JSON.stringify([m.transport_socket, m.transport_socket_matches, http.upstream_http_protocol_options]),
    transports: decodeTransports(m, http.upstream_http_protocol_options ?? {}, what),
    panicPercent: lb.healthy_panic_threshold ? (lb.healthy_panic_threshold.value ?? 0) : 50,
    overprovisioning: m.load_assignment?.policy?.overprovisioning_factor?.value ?? 140,
    localityWeighted: lb.locality_weighted_lb_config !== undefined,
    warmup: fromDuration(slow?.slow_start_window) ?? 0,
    warmupAggression: slow?.aggression?.default_value || 1,
    warmupLeast: (slow?.min_weight_percent ? (slow.min_weight_percent.value ?? 0) : 10) / 100,
    dnsRefresh: Math.max(1000, fromDuration(m.dns_refresh_rate) ?? 5000),
    proxyProtocol: proxyProtocolOf(m, http, what),
    altStatName: m.alt_stat_name ?? '',
  }
}

/** What Linux waits where nothing is said (tcp(7), tcp_keepalive_time). */
const KEEP_ALIVE_MS = 7_200_000

const decodeTcpKeepAlive = (m: Message | undefined): number | undefined =>
  m && (m.keepalive_time ? (m.keepalive_time.value ?? 0) * 1000 : KEEP_ALIVE_MS)

/** Envoy's bound, where none is given. */
const STREAMS = 2 ** 31 - 1

function decodeHttp2(http: Message, m: Message): Http2Options {
  const options: Message =
    (http.explicit_http_config ?? http.use_downstream_protocol_config ?? http.auto_config)?.http2_protocol_options ??
    m.http2_protocol_options ??
    {}
  const interval = fromDuration(options.connection_keepalive?.interval) ?? 0
  return {
    streams: options.max_concurrent_streams?.value || STREAMS,
    keepAlive:
      interval > 0 ? { interval, timeout: fromDuration(options.connection_keepalive.timeout) ?? interval } : undefined,
  }
}

function protocolOf(http: Message, m: Message): Cluster['protocol'] {
  if (http.explicit_http_config?.http2_protocol_options || m.http2_protocol_options) return 'http2'
  if (http.use_downstream_protocol_config) return 'downstream'
  return http.auto_config ? 'auto' : 'http1'
}

function decodeBalancer(m: Message, what: string): LoadBalancer {
  const policy = m.lb_policy ?? LbPolicy.roundRobin
  switch (policy) {
    case LbPolicy.roundRobin:
      return { kind: 'roundRobin' }
    case LbPolicy.random:
      return { kind: 'random' }
    case LbPolicy.clusterProvided:
      return { kind: 'originalDst' }
    case LbPolicy.leastRequest:
      return { kind: 'leastRequest', choices: Math.max(2, m.least_request_lb_config?.choice_count?.value ?? 2) }
    case LbPolicy.ringHash: {
      const ring = m.ring_hash_lb_config ?? {}
      const max = Math.min(65_536, ring.maximum_ring_size?.value ?? 65_536)
      return { kind: 'ringHash', min: Math.min(max, ring.minimum_ring_size?.value ?? 1024), max }
    }
    case LbPolicy.maglev:
      return { kind: 'maglev', size: m.maglev_lb_config?.table_size?.value ?? 65_537 }
    default:
      return refuse(`${what}: lb_policy`, `${policy} is not supported`)
  }
}

/** Envoy's own bounds, where none are given. */
const BOUND = 1024

function decodeBreakers(m: Message | undefined): CircuitBreakers {
  const usual = ((m?.thresholds ?? []) as Message[]).find((t) => (t.priority ?? 0) === 0) ?? {}
  return {
    connections: usual.max_connections?.value ?? BOUND,
    pending: usual.max_pending_requests?.value ?? BOUND,
    requests: usual.max_requests?.value ?? BOUND,
    retries: usual.max_retries?.value ?? 3,
    retryBudget: usual.retry_budget ? decodeRetryBudget(usual.retry_budget) : undefined,
  }
}

const decodeRetryBudget = (m: Message): RetryBudgetConfig => ({
  percent: m.budget_percent ? (m.budget_percent.value ?? 0) : 20,
  least: m.min_retry_concurrency ? (m.min_retry_concurrency.value ?? 0) : 3,
  interval: fromDuration(m.budget_interval) ?? 0,
})

/** Statuses that a matcher of answers wants, one or any of several. Fails with BadResource for any other matcher. */
function decodeStatuses(matcher: Message, what: string): number[] {
  if (matcher.or_match)
    return ((matcher.or_match.rules ?? []) as Message[]).flatMap((rule) => decodeStatuses(rule, what))
  const [header, ...more] = (matcher.http_response_headers_match?.headers ?? []) as Message[]
  const status = Number(header?.string_match?.exact ?? header?.exact_match)
  if (header?.name !== ':status' || header.invert_match || more.length > 0 || !(status >= 100 && status <= 599))
    refuse(`${what}: outlier_detection.error_matcher`, 'only exact statuses, one or any of several, are supported')
  return [status]
}

function decodeOutlier(m: Message, http: Message | undefined, what: string): OutlierDetection {
  /** A threshold that is not enforced is none. */
  const enforced = (threshold: number, percent: Message | undefined, usual: number) =>
    (percent ? (percent.value ?? 0) : usual) > 0 ? threshold : 0
  const base = fromDuration(m.base_ejection_time) ?? 30_000
  return {
    consecutive5xx: enforced(m.consecutive_5xx?.value ?? (m.consecutive_5xx ? 0 : 5), m.enforcing_consecutive_5xx, 100),
    consecutiveGateway: enforced(
      m.consecutive_gateway_failure?.value ?? (m.consecutive_gateway_failure ? 0 : 5),
      m.enforcing_consecutive_gateway_failure,
      0,
    ),
    consecutiveLocal: enforced(
      m.consecutive_local_origin_failure?.value ?? (m.consecutive_local_origin_failure ? 0 : 5),
      m.enforcing_consecutive_local_origin_failure,
      100,
    ),
    errorCodes: http?.error_matcher ? new Set(decodeStatuses(http.error_matcher, what)) : undefined,
    splitLocal: m.split_external_local_origin_errors ?? false,
    interval: fromDuration(m.interval) ?? 10_000,
    baseEjection: base,
    maxEjection: fromDuration(m.max_ejection_time) ?? Math.max(300_000, base),
    maxPercent: m.max_ejection_percent ? (m.max_ejection_percent.value ?? 0) : 10,
  }
}

function decodeHealthCheck(m: Message, name: string, what: string): HealthCheck {
  const { http_health_check: http, tcp_health_check: tcp, grpc_health_check: grpc } = m
  if (!http && !tcp && !grpc) refuse(`${what}: health_checks`, 'only HTTP, TCP and gRPC are supported')
  const statuses = ((http?.expected_statuses ?? []) as Message[]).map((r) => [r.start ?? 0, r.end ?? 0] as const)
  return {
    kind: http ? 'http' : tcp ? 'tcp' : 'grpc',
    timeout: fromDuration(m.timeout) ?? 5000,
    interval: Math.max(10, fromDuration(m.interval) ?? 10_000),
    unhealthyThreshold: m.unhealthy_threshold?.value ?? 2,
    healthyThreshold: m.healthy_threshold?.value ?? 1,
    host: http?.host || grpc?.authority || name,
    path: http?.path || '/',
    statuses: statuses.length > 0 ? statuses : [[200, 201]],
    service: grpc?.service_name ?? '',
  }
}

function decodeTransports(m: Message, http: Message, what: string): Cluster['transports'] {
  const matches = ((m.transport_socket_matches ?? []) as Message[]).map((t) => {
    const labels = Object.fromEntries(Object.entries(fromStruct(t.match)).map(([k, v]) => [k, String(v)]))
    const tls = decodeTls(t.transport_socket, http, what)
    return { labels, ...(tls ? { tls } : {}) }
  })
  const tls = decodeTls(m.transport_socket, http, what)
  return [...matches, { labels: {}, ...(tls ? { tls } : {}) }]
}

export const TLS_VERSIONS = { 3: 'TLSv1.2', 4: 'TLSv1.3' } as const

/** The versions that a TLS context allows, as properties to spread. Older ones are not spoken. */
export function tlsVersions(common: Message): {
  minVersion?: 'TLSv1.2' | 'TLSv1.3'
  maxVersion?: 'TLSv1.2' | 'TLSv1.3'
} {
  const { tls_minimum_protocol_version: min, tls_maximum_protocol_version: max } = common.tls_params ?? {}
  const of = (n: number | undefined) => TLS_VERSIONS[n as keyof typeof TLS_VERSIONS]
  return { ...(of(min) ? { minVersion: of(min)! } : {}), ...(of(max) ? { maxVersion: of(max)! } : {}) }
}

/** The authorities' certificates. An authority without any would leave the other side unchecked: it is refused. */
export function authorityPem(source: Message, what: string): string {
  const pem = String(dataOf(source))
  if (!pem.includes('-----BEGIN ')) refuse(`${what}: trusted_ca`, 'it holds no certificate')
  return pem
}

/** Certificates that stand in a TLS context itself. */
export function inlineSecret(common: Message, what: string): TlsSecret | undefined {
  const own = common.tls_certificates?.[0]
  const check = common.validation_context ?? common.combined_validation_context?.default_validation_context
  if (!own && !check?.trusted_ca) return undefined
  return {
    ...(own ? { certificate: String(dataOf(own.certificate_chain)), key: String(dataOf(own.private_key)) } : {}),
    ...(check?.trusted_ca ? { authority: authorityPem(check.trusted_ca, what) } : {}),
    ...(check?.crl ? { revoked: String(dataOf(check.crl)) } : {}),
  }
}

export const validation = (common: Message): Message =>
  common.combined_validation_context?.default_validation_context ?? common.validation_context ?? {}

/** What names a TLS context checks on the other side's certificate. */
export function subjectAltNames(common: Message, what: string) {
  const check = validation(common)
  const typed = ((check.match_typed_subject_alt_names ?? []) as Message[]).map((t) => t.matcher)
  return [...typed, ...(check.match_subject_alt_names ?? [])].map((n: Message) =>
    n.exact === undefined ? compileString(n, `${what}: names`) : { test: (name: string) => bears(name, n.exact) },
  )
}

/** True when a certificate's name, which may begin with "*.", is that of a host (RFC 6125, 6.4.3). */
const bears = (name: string, host: string): boolean =>
  name === host || (name.startsWith('*.') && host.slice(host.indexOf('.')) === name.slice(1))

/** The secret, by Istio's name, of the authorities that this machine trusts: here without being asked for. */
const SYSTEM_ROOTS = 'file-root:system'

export const authorityName = (common: Message): string | undefined =>
  common.combined_validation_context?.validation_context_sds_secret_config?.name ??
  common.validation_context_sds_secret_config?.name

/** The version of the PROXY line that hosts are sent; undefined for none. */
function proxyProtocolOf(m: Message, http: Message, what: string): 1 | 2 | undefined {
  const sockets = [
    m.transport_socket,
    ...((m.transport_socket_matches ?? []) as Message[]).map((t) => t.transport_socket),
  ]
  const line = sockets.find((s) => s?.name === PROXY_PROTOCOL)
  if (!line) return undefined
  if (protocolOf(http, m) === 'http2')
    refuse(`${what}: transport_socket`, 'the PROXY protocol is not sent before HTTP/2')
  const { value } = unpackAny(line.typed_config ?? {})
  if (m.typed_extension_protocol_options && value.transport_socket?.name === 'envoy.transport_sockets.tls')
    refuse(`${what}: transport_socket`, 'the PROXY protocol is not sent before HTTP over TLS')
  return value.config?.version === V2 ? 2 : 1
}

/** ProxyProtocolConfig.Version. */
const V2 = 1

function decodeTls(given: Message | undefined, http: Message, what: string): UpstreamTls | undefined {
  const socket: Message | undefined =
    given?.name === PROXY_PROTOCOL ? unpackAny(given.typed_config ?? {}).value.transport_socket : given
  if (!socket || socket.name === 'envoy.transport_sockets.raw_buffer') return undefined
  const { name, value } = unpackAny(socket.typed_config ?? {})
  if (name === 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer') return undefined
  if (name !== UPSTREAM_TLS) return refuse(`${what}: transport_socket`, `${socket.name} is not supported`)
  const common = value.common_tls_context ?? {}
  const certificate = common.tls_certificate_sds_secret_configs?.[0]?.name
  const authority = authorityName(common)
  const inline = inlineSecret(common, what)
  return {
    ...(certificate ? { certificate } : {}),
    ...(authority && authority !== SYSTEM_ROOTS ? { authority } : {}),
    ...(inline ? { inline } : {}),
    sni: value.sni ?? '',
    autoSni: (value.auto_host_sni || http.auto_sni) ?? false,
    autoSan: http.auto_san_validation ?? false,
    systemRoots: authority === SYSTEM_ROOTS,
    alpn: common.alpn_protocols ?? [],
    subjectAltNames: subjectAltNames(common, what),
    ...tlsVersions(common),
  }
}

const HEALTH = {
  [HealthStatus.unhealthy]: 'unhealthy',
  [HealthStatus.timeout]: 'unhealthy',
  [HealthStatus.draining]: 'draining',
  [HealthStatus.degraded]: 'degraded',
} as const

/** envoy.config.endpoint.v3.ClusterLoadAssignment. Fails with BadResource. */
export function decodeEndpoints(m: Message): { name: string; endpoints: Endpoint[] } {
  const endpoints: Endpoint[] = []
  for (const group of (m.endpoints ?? []) as Message[]) {
    const { region = '', zone = '', sub_zone: sub = '' } = group.locality ?? {}
    const locality = sub ? `${region}/${zone}/${sub}` : zone ? `${region}/${zone}` : region
    for (const e of (group.lb_endpoints ?? []) as Message[]) {
      const { socket_address: address, pipe } = e.endpoint?.address ?? {}
      if (!pipe?.path && !(address?.address && address.port_value))
        refuse(
          `endpoints of ${m.cluster_name}`,
          'an endpoint has neither an address with a port nor the path of a socket',
        )
      const metadata = e.metadata?.filter_metadata ?? {}
      endpoints.push({
        host: pipe?.path ?? address.address,
        port: pipe ? 0 : address.port_value,
        workload: String(fromStruct(metadata.istio).workload ?? ''),
        hostname: e.endpoint.hostname ?? '',
        locality,
        localityWeight: group.load_balancing_weight?.value ?? 1,
        priority: group.priority ?? 0,
        weight: e.load_balancing_weight?.value ?? 1,
        health: HEALTH[(e.health_status ?? 0) as keyof typeof HEALTH] ?? 'healthy',
        labels: Object.fromEntries(
          Object.entries(fromStruct(metadata['envoy.transport_socket_match'])).map(([k, v]) => [k, String(v)]),
        ),
      })
    }
  }
  return { name: m.cluster_name, endpoints }
}
