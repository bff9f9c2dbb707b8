// Filter chains: what a listener does with a connection. Pure.

import type { Json } from '#api'
import { HttpConnectionManager, packAny, TcpProxy, toDuration, toStruct, xds } from '#api/xds'
import { parseDuration } from '#base'
import type { Message } from '#wire'
import type { MeshConfig } from '../model/mesh-config.ts'
import type { FilterInserts } from './envoy-filter.ts'
import { extension } from './extension.ts'
import { headerSettings, routerOf } from './manager-settings.ts'
import { ROUTE_FILTERS } from './route-filters.ts'
import { ADS } from './sds.ts'

const LISTENER = 'envoy.filters.listener.'
export const HTTP_INSPECTOR = extension(`${LISTENER}http_inspector`, 'filters.listener.http_inspector.v3.HttpInspector')
export const TLS_INSPECTOR = extension(`${LISTENER}tls_inspector`, 'filters.listener.tls_inspector.v3.TlsInspector')
export const PROXY_PROTOCOL = extension(`${LISTENER}proxy_protocol`, 'filters.listener.proxy_protocol.v3.ProxyProtocol')
export const ORIGINAL_DST = extension(`${LISTENER}original_dst`, 'filters.listener.original_dst.v3.OriginalDst')
/** What plain HTTP looks like to the inspector. */
export const LOOKS_LIKE_HTTP: Message = {
  transport_protocol: 'raw_buffer',
  application_protocols: ['http/1.1', 'h2c'],
}

/** How long a listener that inspects may look: as long as it takes, unless MeshConfig says otherwise. */
export const detectionTimeout = (mesh: MeshConfig): Message => ({
  listener_filters_timeout: toDuration(parseDuration(mesh.protocolDetectionTimeout) ?? 0),
  continue_on_listener_filters_timeout: true,
})

/** PathNormalization of MeshConfig as the connection manager has it. */
const PATHS: Readonly<Record<string, Message>> = {
  NONE: {},
  BASE: { normalize_path: { value: true } },
  MERGE_SLASHES: { normalize_path: { value: true }, merge_slashes: true },
  DECODE_AND_MERGE_SLASHES: {
    normalize_path: { value: true },
    merge_slashes: true,
    // UNESCAPE_AND_FORWARD
    path_with_escaped_slashes_action: 4,
  },
}

/** The access log MeshConfig asks for: none, or lines to a file. */
export function accessLog(mesh: MeshConfig): Message {
  if (!mesh.accessLogFile) return {}
  const format = (name: string, value: Message) => ({ log_format: { [name]: value } })
  const text = mesh.accessLogFormat
  let fields: Json | undefined
  if (mesh.accessLogEncoding === 'JSON' && text)
    try {
      fields = JSON.parse(text)
    } catch {
      fields = undefined
    }
  const written =
    mesh.accessLogEncoding === 'JSON'
      ? format('json_format', toStruct(fields ?? JSON_LOG))
      : format('text_format_source', { inline_string: text || TEXT_LOG })
  return {
    access_log: [
      {
        name: 'envoy.access_loggers.file',
        typed_config: packAny(xds('envoy.extensions.access_loggers.file.v3.FileAccessLog'), {
          path: mesh.accessLogFile,
          ...written,
        }),
      },
    ],
  }
}

const words = (text: string) => text.split(' ')
/** Istio's default line (pilot/pkg/model/telemetry_logging.go). */
const TEXT_LOG = `${[
  '[%START_TIME%]',
  '"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"',
  '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%',
  '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION%',
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%"',
  '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS%',
  '%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%',
].join(' ')}\n`

/** The same as fields, under Istio's keys. */
const JSON_LOG: Readonly<Record<string, string>> = Object.fromEntries(
  [
    'start_time %START_TIME%',
    'route_name %ROUTE_NAME%',
    'method %REQ(:METHOD)%',
    'path %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%',
    'protocol %PROTOCOL%',
    'response_code %RESPONSE_CODE%',
    'response_flags %RESPONSE_FLAGS%',
    'response_code_details %RESPONSE_CODE_DETAILS%',
    'connection_termination_details %CONNECTION_TERMINATION_DETAILS%',
    'bytes_received %BYTES_RECEIVED%',
    'bytes_sent %BYTES_SENT%',
    'duration %DURATION%',
    'upstream_service_time %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%',
    'x_forwarded_for %REQ(X-FORWARDED-FOR)%',
    'user_agent %REQ(USER-AGENT)%',
    'request_id %REQ(X-REQUEST-ID)%',
    'authority %REQ(:AUTHORITY)%',
    'upstream_host %UPSTREAM_HOST%',
    'upstream_cluster %UPSTREAM_CLUSTER_RAW%',
    'upstream_local_address %UPSTREAM_LOCAL_ADDRESS%',
    'downstream_local_address %DOWNSTREAM_LOCAL_ADDRESS%',
    'downstream_remote_address %DOWNSTREAM_REMOTE_ADDRESS%',
    'requested_server_name %REQUESTED_SERVER_NAME%',
    'upstream_transport_failure_reason %UPSTREAM_TRANSPORT_FAILURE_REASON%',
  ].map((line) => words(line) as [string, string]),
)

/** What Istio says for every chain of HTTP: WebSocket passes, paths are normal, streams may be idle. */
const common = (mesh: MeshConfig): Message => ({
  upgrade_configs: [{ upgrade_type: 'websocket' }],
  stream_idle_timeout: toDuration(0),
  ...PATHS[mesh.pathNormalization],
  ...accessLog(mesh),
})

const manager = (settings: Message): Message => ({
  filters: [
    {
      name: 'envoy.filters.network.http_connection_manager',
      typed_config: packAny(HttpConnectionManager, { codec_type: 0, ...settings }),
    },
  ],
})

/** HTTP by a table of routes that is delivered apart. */
export function httpChain(
  mesh: MeshConfig,
  config: Json,
  route: string,
  statPrefix = `outbound_${route}`,
  extra: Message = {},
  inserts: FilterInserts = (filters) => filters,
): Message {
  return manager({
    stat_prefix: statPrefix,
    ...common(mesh),
    rds: { config_source: ADS, route_config_name: route },
    http_filters: inserts([...ROUTE_FILTERS, routerOf(config)]),
    ...extra,
  })
}

/** A destination of bytes and its share of the connections. */
export interface TcpTarget {
  readonly cluster: string
  readonly weight: number
}

/** Bytes to one cluster, or to several by weight. */
export function tcpChain(mesh: MeshConfig, to: string | readonly TcpTarget[], policy: Json = {}): Message {
  const targets = typeof to === 'string' ? [{ cluster: to, weight: 1 }] : to
  const idle = parseDuration(policy.connectionPool?.tcp?.idleTimeout)
  const one = targets.length === 1 ? targets[0]!.cluster : undefined
  return {
    filters: [
      {
        name: 'envoy.filters.network.tcp_proxy',
        typed_config: packAny(TcpProxy, {
          stat_prefix: one ?? targets[0]?.cluster ?? 'none',
          ...(one
            ? { cluster: one }
            : { weighted_clusters: { clusters: targets.map((t) => ({ name: t.cluster, weight: t.weight })) } }),
          ...(idle === undefined ? {} : { idle_timeout: toDuration(idle) }),
          ...(policy.tunnel ? { tunneling_config: tunnel(policy.tunnel) } : {}),
          ...(policy.loadBalancer?.consistentHash?.useSourceIp ? { hash_policy: [{ source_ip: {} }] } : {}),
          ...accessLog(mesh),
        }),
      },
    ],
  }
}

/** Through the destination, which is an HTTP proxy, to another place. */
const tunnel = ({ protocol, targetHost, targetPort }: Json): Message => ({
  hostname: targetHost.includes(':') ? `[${targetHost}]:${targetPort}` : `${targetHost}:${targetPort}`,
  ...(protocol === 'POST' ? { use_post: true } : {}),
})

/** HTTP to the workload itself: everything goes to one cluster. */
export function inboundHttpChain(
  mesh: MeshConfig,
  config: Json,
  cluster: string,
  port: number,
  retried: boolean,
  inserts: FilterInserts = (filters) => filters,
  edit: (config: Message) => Message = (config) => config,
): Message {
  const route = {
    name: 'default',
    match: { prefix: '/' },
    route: {
      cluster,
      timeout: toDuration(0),
      // Never of gRPC (Istio since 1.24).
      ...(retried ? { retry_policy: { retry_on: 'reset-before-request', num_retries: { value: 2 } } } : {}),
    },
  }
  return manager({
    stat_prefix: cluster,
    route_config: edit({
      name: cluster,
      virtual_hosts: [{ name: `inbound|http|${port}`, domains: ['*'], routes: [route] }],
    }),
    ...common(mesh),
    ...headerSettings(config, 'istio-envoy'),
    http_filters: inserts([routerOf(config)]),
  })
}
