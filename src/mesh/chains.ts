// Filter chains: what a listener does with a connection.

import { HttpConnectionManager, packAny, TcpProxy, toDuration } from '#api/xds'
import type { Message } from '#wire'
import { ROUTE_FILTERS } from './route-filters.ts'

export const ADS: Message = { ads: {}, resource_api_version: 2 }
const ROUTER = {
  name: 'envoy.filters.http.router',
  typed_config: {
    type_url: 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
    value: new Uint8Array(),
  },
}
export const INSPECTOR = { name: 'envoy.filters.listener.http_inspector' }

/** What Istio says for every chain of HTTP: WebSocket passes, paths are normal, streams may be idle. */
const COMMON: Message = {
  upgrade_configs: [{ upgrade_type: 'websocket' }],
  normalize_path: { value: true },
  stream_idle_timeout: toDuration(0),
}

/** HTTP by a table of routes that is delivered apart. */
export function httpChain(route: string, statPrefix = `outbound_${route}`, extra: Message = {}): Message {
  return {
    filters: [
      {
        name: 'envoy.filters.network.http_connection_manager',
        typed_config: packAny(HttpConnectionManager, {
          codec_type: 0,
          stat_prefix: statPrefix,
          ...COMMON,
          rds: { config_source: ADS, route_config_name: route },
          http_filters: [...ROUTE_FILTERS, ROUTER],
          ...extra,
        }),
      },
    ],
  }
}

export function tcpChain(cluster: string): Message {
  return {
    filters: [
      { name: 'envoy.filters.network.tcp_proxy', typed_config: packAny(TcpProxy, { stat_prefix: cluster, cluster }) },
    ],
  }
}

/** HTTP to the workload itself: everything goes to one cluster. */
export function inboundHttpChain(cluster: string, port: number): Message {
  const retry = { retry_on: 'reset-before-request', num_retries: { value: 2 } }
  const route = {
    name: 'default',
    match: { prefix: '/' },
    route: { cluster, timeout: toDuration(0), retry_policy: retry },
  }
  const config = { name: cluster, virtual_hosts: [{ name: `inbound|http|${port}`, domains: ['*'], routes: [route] }] }
  return {
    filters: [
      {
        name: 'envoy.filters.network.http_connection_manager',
        typed_config: packAny(HttpConnectionManager, {
          codec_type: 0,
          stat_prefix: cluster,
          route_config: config,
          ...COMMON,
          server_name: 'istio-envoy',
          http_filters: [ROUTER],
        }),
      },
    ],
  }
}
