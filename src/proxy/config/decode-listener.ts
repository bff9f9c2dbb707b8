// Listeners, their filter chains and secrets out of xDS.

import { fromDuration, fromStruct, unpackAny } from '#api/xds'
import type { Message } from '#wire'
import { decodeFilter } from '../filters/registry.ts'
import { type AccessLog, decodeAccessLog, type LineSink } from '../telemetry/access-log.ts'
import { rangesOf } from './address-range.ts'
import { authorityName, inlineSecret, subjectAltNames, tlsVersions, validation } from './decode-cluster.ts'
import { decodeRoutes } from './decode-route.ts'
import { dataOf, refuse } from './matchers.ts'
import type { Chain, ChainMatch, ChainTls, FilterChain, HttpChain, Listener, TcpChain, TlsSecret } from './model.ts'

const ROUTER = 'envoy.extensions.filters.http.router.v3.Router'
const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
const TCP = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'
const TLS = 'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext'
/** Network filters that only prepare for others here. */
const PASSED_OVER = /metadata_exchange|istio\.stats|istio_stats|sni_cluster|envoy\.filters\.network\.rbac\.disabled/

const CODECS = ['auto', 'http1', 'http2'] as const
const SERVER_HEADER = ['overwrite', 'appendIfAbsent', 'passThrough'] as const
const CLIENT_CERT = ['sanitize', 'forwardOnly', 'appendForward', 'sanitizeSet', 'alwaysForward'] as const
const ESCAPED = ['keep', 'keep', 'reject', 'redirect', 'forward'] as const

function logsOf(m: Message, sink: LineSink, what: string): AccessLog[] {
  return ((m.access_log ?? []) as Message[])
    .map((log) => decodeAccessLog(log, sink, what))
    .filter((log) => log !== undefined)
}

function decodeHttp(hcm: Message, sink: LineSink, what: string): HttpChain {
  const common = hcm.common_http_protocol_options ?? {}
  const details = hcm.set_current_client_cert_details ?? {}
  const sampling = hcm.tracing
    ? ((hcm.tracing.random_sampling?.value ?? 100) / 100) * ((hcm.tracing.overall_sampling?.value ?? 100) / 100)
    : undefined
  return {
    kind: 'http',
    codec: CODECS[hcm.codec_type ?? 0] ?? refuse(what, 'its codec_type is not supported'),
    statPrefix: hcm.stat_prefix ?? '',
    route: hcm.route_config
      ? decodeRoutes(hcm.route_config)
      : (hcm.rds?.route_config_name ?? refuse(what, 'has neither routes nor a name of routes')),
    serverName: hcm.server_name || 'envoy',
    serverHeader: SERVER_HEADER[hcm.server_header_transformation ?? 0] ?? 'overwrite',
    edge: hcm.use_remote_address?.value ?? false,
    xffHops: hcm.xff_num_trusted_hops ?? 0,
    skipXff: hcm.skip_xff_append ?? false,
    tellsPort: hcm.append_x_forwarded_port ?? false,
    filters: ((hcm.http_filters ?? []) as Message[])
      .map((f) => decodeFilter(f, `${what}, filter ${f.name}`))
      .filter((f) => f !== undefined),
    idleTimeout: fromDuration(common.idle_timeout) ?? 3_600_000,
    streamIdleTimeout: fromDuration(hcm.stream_idle_timeout) ?? 300_000,
    requestTimeout: fromDuration(hcm.request_timeout) ?? 0,
    maxConnectionAge: fromDuration(common.max_connection_duration) ?? 0,
    maxStream: fromDuration(common.max_stream_duration) ?? 0,
    maxRequests: common.max_requests_per_connection?.value ?? 0,
    upgrades: new Set(
      ((hcm.upgrade_configs ?? []) as Message[])
        .filter((u) => u.enabled?.value !== false)
        .map((u) => String(u.upgrade_type).toLowerCase()),
    ),
    normalizePath: hcm.normalize_path?.value ?? false,
    mergeSlashes: hcm.merge_slashes ?? false,
    escapedSlashes: ESCAPED[hcm.path_with_escaped_slashes_action ?? 0] ?? 'keep',
    stripPort: (hcm.strip_any_host_port ?? false) || (hcm.strip_matching_host_port ?? false),
    clientCert: CLIENT_CERT[hcm.forward_client_cert_details ?? 0] ?? 'sanitize',
    clientCertDetails: new Set(
      (['cert', 'chain', 'dns', 'uri', 'subject'] as const).filter((d) =>
        d === 'subject' ? details.subject?.value : details[d],
      ),
    ),
    requestId: hcm.generate_request_id?.value ?? true,
    routingFields: !suppressesFields(hcm),
    keepRequestId: hcm.preserve_external_request_id ?? false,
    accessLogs: logsOf(hcm, sink, what),
    sampling,
  }
}

const suppressesFields = (hcm: Message): boolean =>
  ((hcm.http_filters ?? []) as Message[]).some(
    ({ typed_config: any }) => any?.type_url?.endsWith(`/${ROUTER}`) && unpackAny(any).value.suppress_envoy_headers,
  )

function decodeTcp(tcp: Message, sink: LineSink, what: string): TcpChain {
  const weighted = ((tcp.weighted_clusters?.clusters ?? []) as Message[]).map((c) => ({
    name: c.name,
    weight: c.weight ?? 0,
  }))
  const clusters = tcp.cluster ? [{ name: tcp.cluster, weight: 1 }] : weighted
  if (clusters.length === 0) refuse(what, 'names no cluster')
  const tunnel: Message | undefined = tcp.tunneling_config
  if (tunnel && !/^[\w.:[\]-]+:\d{1,5}$/.test(tunnel.hostname ?? ''))
    refuse(what, 'tunneling_config: hostname is not "host:port"')
  return {
    kind: 'tcp',
    clusters,
    statPrefix: tcp.stat_prefix ?? '',
    idleTimeout: fromDuration(tcp.idle_timeout) ?? 3_600_000,
    maxConnectAttempts: tcp.max_connect_attempts?.value ?? 1,
    maxAge: fromDuration(tcp.max_downstream_connection_duration) ?? 0,
    hashSource: ((tcp.hash_policy ?? []) as Message[]).some((h) => h.source_ip),
    tunnel: tunnel && { to: tunnel.hostname, post: tunnel.use_post ?? false },
    accessLogs: logsOf(tcp, sink, what),
  }
}

function decodeChain(m: Message, sink: LineSink, what: string): Chain {
  const filters = ((m.filters ?? []) as Message[]).filter((f) => !PASSED_OVER.test(f.name ?? ''))
  const last = filters.at(-1)
  if (!last) return refuse(what, 'has no filters')
  const [first] = filters
  if (first && first !== last) refuse(what, `filter ${first.name} is not supported`)
  const url = String(last.typed_config?.type_url ?? '')
  if (url.endsWith(`/${HCM}`)) return decodeHttp(unpackAny(last.typed_config).value, sink, what)
  if (url.endsWith(`/${TCP}`)) return decodeTcp(unpackAny(last.typed_config).value, sink, what)
  return refuse(what, `filter ${last.name} is not supported`)
}

/** CertificateValidationContext.TrustChainVerification. */
const ACCEPT_UNTRUSTED = 1

function decodeTls(m: Message | undefined, what: string): ChainTls | undefined {
  if (!m || m.name === 'envoy.transport_sockets.raw_buffer') return undefined
  const { name, value } = unpackAny(m.typed_config ?? {})
  if (name !== TLS) return refuse(what, `transport socket ${m.name} is not supported`)
  const common = value.common_tls_context ?? {}
  const authority = authorityName(common)
  const check = validation(common)
  const inline = inlineSecret(common, what)
  const certificate = common.tls_certificate_sds_secret_configs?.[0]?.name
  if (!certificate && !inline?.certificate) refuse(what, 'TLS names no certificate')
  const ciphers: string[] = common.tls_params?.cipher_suites ?? []
  return {
    certificate: certificate ?? '',
    ...(authority ? { authority } : {}),
    ...(inline ? { inline } : {}),
    requireClient: value.require_client_certificate?.value ?? false,
    acceptUntrusted: check.trust_chain_verification === ACCEPT_UNTRUSTED,
    pins: [
      ...((check.verify_certificate_hash ?? []) as string[]).map((h) => h.replaceAll(':', '').toLowerCase()),
      ...((check.verify_certificate_spki ?? []) as string[]),
    ],
    alpn: common.alpn_protocols ?? [],
    subjectAltNames: subjectAltNames(common, what),
    ...tlsVersions(common),
    ...(ciphers.length > 0 ? { ciphers: ciphers.join(':').replace(/[[\]]/g, '').replaceAll('|', ':') } : {}),
  }
}

/** A CertificateValidationContext or a TlsCertificate. */
export function decodeSecret(m: Message): TlsSecret {
  const { tls_certificate: own, validation_context: check } = m
  return {
    ...(own ? { certificate: String(dataOf(own.certificate_chain)), key: String(dataOf(own.private_key)) } : {}),
    ...(check ? { authority: String(dataOf(check.trusted_ca)) } : {}),
    ...(check?.crl ? { revoked: String(dataOf(check.crl)) } : {}),
  }
}

function decodeMatch(m: Message | undefined, what: string): ChainMatch {
  const transport = m?.transport_protocol ?? ''
  if (transport !== '' && transport !== 'tls' && transport !== 'raw_buffer')
    refuse(what, `transport protocol ${transport} is not supported`)
  return {
    port: m?.destination_port?.value ?? 0,
    destinations: rangesOf(m?.prefix_ranges),
    sources: rangesOf(m?.source_prefix_ranges),
    sourcePorts: m?.source_ports ?? [],
    serverNames: ((m?.server_names ?? []) as string[]).map((n) => n.toLowerCase()),
    transport,
    alpn: m?.application_protocols ?? [],
  }
}

const filterChain = (m: Message, sink: LineSink, what: string): FilterChain => {
  const tls = decodeTls(m.transport_socket, what)
  return { match: decodeMatch(m.filter_chain_match, what), ...(tls ? { tls } : {}), chain: decodeChain(m, sink, what) }
}

/** How long a connection is looked at, unless configuration says otherwise (Envoy's default). */
const INSPECT_MS = 15_000
/** As long where it says that there is no limit. */
const NO_LIMIT_MS = 3_600_000

/** envoy.config.listener.v3.Listener. Fails with BadResource. */
export function decodeListener(m: Message, sink: LineSink): Listener {
  const what = `listener ${m.name}`
  const address = m.address?.socket_address ?? refuse(what, 'has no socket address')
  const filters = ((m.listener_filters ?? []) as Message[]).map((f) => String(f.name))
  const inspects = (name: string) => filters.some((f) => f.includes(name))
  const timeout = fromDuration(m.listener_filters_timeout)
  return {
    name: m.name,
    address: address.address,
    port: address.port_value ?? 0,
    inbound: m.traffic_direction === 1,
    chains: ((m.filter_chains ?? []) as Message[]).map((c, i) =>
      filterChain(c, sink, `${what}, filter chain ${c.name || i}`),
    ),
    fallback: m.default_filter_chain
      ? filterChain(m.default_filter_chain, sink, `${what}, default filter chain`)
      : undefined,
    bind: m.bind_to_port?.value ?? !m.use_original_dst?.value,
    inspectTls: inspects('tls_inspector'),
    inspectHttp: inspects('http_inspector'),
    proxyProtocol: inspects('proxy_protocol'),
    inspectTimeout: timeout === undefined ? INSPECT_MS : timeout || NO_LIMIT_MS,
    settlesSilence: (timeout ?? 0) > 0 && m.continue_on_listener_filters_timeout === true,
    maxConnections: m.per_connection_limit?.max_connections ?? 0,
    onDemand: fromStruct(m.metadata?.filter_metadata?.sampan).listeners_on_demand === true,
  }
}
