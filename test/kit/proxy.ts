// A data plane in this process, configured by xDS messages, on ports of its own; and the messages it needs.

import { HttpConnectionManager, packAny, TcpProxy, toDuration, toStruct, xds } from '#api/xds'
import {
  acceptBound,
  createProxy,
  decodeCluster,
  decodeEndpoints,
  decodeListener,
  decodeRoutes,
  decodeSecret,
  type ProxyContext,
} from '#proxy'
import type { Message } from '#wire'

const HTTP = 'envoy.extensions.filters.http.'

/** A filter of HTTP by the message that configures it: `httpFilter('fault.v3.HTTPFault', {...})`. */
export function httpFilter(type: string, config: Message, name = `envoy.filters.http.${type.split('.')[0]}`): Message {
  return { name, typed_config: packAny(xds(HTTP + type), config) }
}

/** Settings of a filter for a route, to stand in typed_per_filter_config. */
export const filterSettings = (type: string, config: Message): Message => packAny(xds(HTTP + type), config)

const ROUTER = httpFilter('router.v3.Router', {})

export interface HttpListenerOptions {
  readonly port: number
  readonly address?: string
  /** Virtual hosts; or routes of the one host "*". */
  readonly hosts?: readonly Message[]
  readonly routes?: readonly Message[]
  readonly filters?: readonly Message[]
  /** More of the connection manager. */
  readonly hcm?: Message
  /** More of the filter chain, and of the listener. */
  readonly chain?: Message
  readonly listener?: Message
}

/** A listener of HTTP with its routes in it. */
export function httpListener(name: string, o: HttpListenerOptions): Message {
  const hosts = o.hosts ?? [{ name: 'all', domains: ['*'], routes: o.routes ?? [] }]
  return {
    name,
    address: { socket_address: { address: o.address ?? '127.0.0.1', port_value: o.port } },
    filter_chains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: packAny(HttpConnectionManager, {
              stat_prefix: name,
              route_config: { name, virtual_hosts: hosts },
              http_filters: [...(o.filters ?? []), ROUTER],
              stream_idle_timeout: toDuration(0),
              ...o.hcm,
            }),
          },
        ],
        ...o.chain,
      },
    ],
    ...o.listener,
  }
}

/** A chain of bytes to a cluster. */
export function tcpChain(cluster: string, more: Message = {}, match?: Message): Message {
  return {
    filters: [
      {
        name: 'envoy.filters.network.tcp_proxy',
        typed_config: packAny(TcpProxy, { stat_prefix: cluster, cluster, ...more }),
      },
    ],
    ...(match ? { filter_chain_match: match } : {}),
  }
}

/** A listener of bytes. */
export function tcpListener(name: string, port: number, chains: readonly Message[], more: Message = {}): Message {
  return {
    name,
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: chains,
    ...more,
  }
}

/** An address of an endpoint. */
export const endpointAt = (port: number, more: Message = {}, address = '127.0.0.1'): Message => ({
  endpoint: { address: { socket_address: { address, port_value: port } } },
  metadata: { filter_metadata: { istio: toStruct({ workload: 'greeter;default;greeter;v1;Kubernetes' }) } },
  ...more,
})

/** A static cluster of these ports. */
export function staticCluster(name: string, ports: readonly number[], more: Message = {}): Message {
  return {
    name,
    type: 0,
    connect_timeout: toDuration(1000),
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: ports.map((p) => endpointAt(p)) }] },
    metadata: {
      filter_metadata: { istio: toStruct({ services: [{ host: `${name}.test`, name, namespace: 'default' }] }) },
    },
    ...more,
  }
}

/** What makes a cluster speak HTTP/2, or what its clients speak. */
export function speaking(protocol: 'http2' | 'downstream', http2: Message = {}): Message {
  const options =
    protocol === 'http2'
      ? { explicit_http_config: { http2_protocol_options: http2 } }
      : { use_downstream_protocol_config: {} }
  const name = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
  return { typed_extension_protocol_options: { [name]: packAny(xds(name), options) } }
}

export const toCluster = (cluster: string, more: Message = {}, match: Message = { prefix: '/' }): Message => ({
  match,
  route: { cluster, timeout: toDuration(0), ...more },
})

export interface ProxyConfig {
  readonly listeners: readonly Message[]
  readonly clusters: readonly Message[]
  readonly endpoints?: readonly Message[]
  readonly routes?: readonly Message[]
  readonly secrets?: readonly Message[]
}

export interface TestProxy extends AsyncDisposable {
  readonly context: ProxyContext
  /** Lines of access logs. */
  readonly lines: string[]
  /** Takes clusters, endpoints and routes anew. */
  configure(config: Partial<ProxyConfig>): void
}

/** The workload that proxies of tests are beside. */
export const LOCAL = {
  workload: 'tester',
  namespace: 'default',
  canonicalName: 'tester',
  canonicalRevision: 'v1',
  app: 'tester',
  version: 'v1',
}

/** Starts a data plane. Its messages go through encoding, as if they had come from a control plane. */
export async function startProxy(config: ProxyConfig, random?: () => number): Promise<TestProxy> {
  const lines: string[] = []
  const { context } = createProxy({
    local: LOCAL,
    nodeId: 'test',
    hostname: 'tester-0',
    logLine: (_path, line) => lines.push(line),
    ...(random ? { random } : {}),
  })
  const store = context.config
  const through = (type: string, m: Message) => xds(type).decode(xds(type).encode(m))
  const configure = (c: Partial<ProxyConfig>) => {
    if (c.secrets) store.secrets = new Map(c.secrets.map((m) => [m.name, decodeSecret(m)]))
    if (c.clusters)
      store.setClusters(c.clusters.map((m) => decodeCluster(through('envoy.config.cluster.v3.Cluster', m))))
    for (const m of c.endpoints ?? []) {
      const { name, endpoints } = decodeEndpoints(through('envoy.config.endpoint.v3.ClusterLoadAssignment', m))
      store.setEndpoints(name, endpoints)
    }
    if (c.routes)
      store.routes = new Map(
        c.routes.map((m) => [m.name, decodeRoutes(through('envoy.config.route.v3.RouteConfiguration', m))]),
      )
    if (c.listeners)
      store.listeners = new Map(
        c.listeners.map((m) => [
          m.name,
          decodeListener(through('envoy.config.listener.v3.Listener', m), (_path, line) => lines.push(line)),
        ]),
      )
  }
  configure(config)
  const servers = await Promise.all([...store.listeners].map(([name, l]) => acceptBound(name, l, context)))
  const open = new Set<{ destroy(): void }>()
  for (const server of servers)
    server.on('connection', (socket) => {
      open.add(socket)
      socket.once('close', () => open.delete(socket))
    })
  return {
    context,
    lines,
    configure,
    async [Symbol.asyncDispose]() {
      for (const server of servers) server.close()
      for (const socket of open) socket.destroy()
      store.setClusters([])
    },
  }
}
