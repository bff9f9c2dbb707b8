// The data plane's own model, decoded from xDS. A resource that cannot be used is refused with a reason.

import {
  ClusterType,
  fromDuration,
  fromStruct,
  HttpConnectionManager,
  HttpProtocolOptions,
  LbPolicy,
  TcpProxy,
} from '#api/xds'
import { SampanError } from '#base'
import type { Message } from '#wire'

export interface Endpoint {
  readonly host: string
  readonly port: number
  /** "workload;namespace;canonical name;revision;cluster" of the peer. */
  readonly workload: string
  /** Requests under way; least-request looks at it. */
  active: number
}

export interface Cluster {
  readonly name: string
  readonly type: 'eds' | 'originalDst' | 'static'
  readonly policy: 'roundRobin' | 'leastRequest' | 'random'
  /** What is spoken to endpoints: one protocol, or what the downstream speaks. */
  readonly protocol: 'http1' | 'http2' | 'downstream'
  readonly connectTimeout: number
  readonly service: { host: string; name: string; namespace: string }
  /** Next index for round robin. */
  turn: number
}

export interface StringMatch {
  test(value: string): boolean
}

export interface HeaderMatch {
  readonly name: string
  readonly match: StringMatch | undefined
  readonly invert: boolean
}

export interface Route {
  readonly name: string
  readonly path: StringMatch
  readonly headers: readonly HeaderMatch[]
  /** Clusters with their weights; empty for a direct response. */
  readonly clusters: readonly { name: string; weight: number }[]
  readonly totalWeight: number
  readonly directStatus: number
  /** Milliseconds; 0 is none. */
  readonly timeout: number
}

export interface VirtualHost {
  readonly name: string
  readonly routes: readonly Route[]
}

export interface RouteTable {
  readonly name: string
  readonly exact: ReadonlyMap<string, VirtualHost>
  /** "*.suffix" domains, the longest first. */
  readonly suffixes: readonly { suffix: string; host: VirtualHost }[]
  readonly any: VirtualHost | undefined
}

export type Chain = { kind: 'http'; route: string | RouteTable } | { kind: 'tcp'; cluster: string }

export interface ChainMatch {
  readonly port: number
  readonly alpn: readonly string[]
  readonly chain: Chain
}

export interface Listener {
  readonly name: string
  readonly address: string
  readonly port: number
  readonly inbound: boolean
  readonly chains: readonly ChainMatch[]
  readonly fallback: Chain | undefined
  /** Whether the first bytes decide the chain. */
  readonly inspect: boolean
}

function refuse(what: string, why: string): never {
  throw new SampanError('BadResource', `${what}: ${why}`)
}

export function decodeCluster(m: Message): Cluster {
  const options = m.typed_extension_protocol_options?.['envoy.extensions.upstreams.http.v3.HttpProtocolOptions']
  const http = options ? HttpProtocolOptions.decode(options.value) : {}
  const services = (fromStruct(m.metadata?.filter_metadata?.istio).services ?? []) as {
    host: string
    name: string
    namespace: string
  }[]
  if (m.type !== undefined && ![ClusterType.static, ClusterType.eds, ClusterType.originalDst].includes(m.type))
    refuse(`cluster ${m.name}: type`, `${m.type} is not supported`)
  return {
    name: m.name,
    type: m.type === ClusterType.eds ? 'eds' : m.type === ClusterType.originalDst ? 'originalDst' : 'static',
    policy:
      m.lb_policy === LbPolicy.random
        ? 'random'
        : m.lb_policy === LbPolicy.leastRequest
          ? 'leastRequest'
          : 'roundRobin',
    protocol: http.explicit_http_config?.http2_protocol_options
      ? 'http2'
      : http.use_downstream_protocol_config
        ? 'downstream'
        : 'http1',
    connectTimeout: fromDuration(m.connect_timeout) ?? 5000,
    service: services[0] ?? { host: '', name: '', namespace: '' },
    turn: 0,
  }
}

export function decodeEndpoints(m: Message): { name: string; endpoints: Endpoint[] } {
  const endpoints: Endpoint[] = []
  for (const locality of m.endpoints ?? [])
    for (const e of locality.lb_endpoints ?? []) {
      const address = e.endpoint?.address?.socket_address
      if (!address?.address || !address.port_value)
        refuse(`endpoints of ${m.cluster_name}`, 'an endpoint has no socket address')
      endpoints.push({
        host: address.address,
        port: address.port_value,
        workload: String(fromStruct(e.metadata?.filter_metadata?.istio).workload ?? ''),
        active: 0,
      })
    }
  return { name: m.cluster_name, endpoints }
}

function compileString(m: Message | undefined, what: string): StringMatch {
  if (!m) return { test: () => true }
  const fold = (s: string) => (m.ignore_case ? s.toLowerCase() : s)
  if (m.exact !== undefined) return { test: (v) => fold(v) === fold(m.exact) }
  if (m.prefix !== undefined) return { test: (v) => fold(v).startsWith(fold(m.prefix)) }
  if (m.suffix !== undefined) return { test: (v) => fold(v).endsWith(fold(m.suffix)) }
  if (m.contains !== undefined) return { test: (v) => fold(v).includes(fold(m.contains)) }
  if (m.safe_regex) return compileRegex(m.safe_regex.regex, what)
  return refuse(what, 'has no match pattern')
}

/** Envoy matches a regex against the whole value. */
function compileRegex(regex: string, what: string): StringMatch {
  try {
    const compiled = new RegExp(`^(?:${regex})$`, 'u')
    return { test: (v) => compiled.test(v) }
  } catch (error) {
    return refuse(what, `invalid regex: ${(error as Error).message}`)
  }
}

function decodePath(match: Message, what: string): StringMatch {
  const insensitive = match.case_sensitive?.value === false
  const fold = (s: string) => (insensitive ? s.toLowerCase() : s)
  if (match.path !== undefined) return { test: (v) => fold(v) === fold(match.path) }
  if (match.safe_regex) return compileRegex(match.safe_regex.regex, what)
  const prefix = match.prefix ?? refuse(what, 'has no path specifier')
  return prefix === '/' ? { test: () => true } : { test: (v) => fold(v).startsWith(fold(prefix)) }
}

function decodeRoute(m: Message, what: string): Route {
  const action = m.route
  if (!action && !m.direct_response) refuse(what, 'its action is not supported')
  const weighted = (action?.weighted_clusters?.clusters ?? []) as Message[]
  const clusters = action?.cluster
    ? [{ name: action.cluster, weight: 1 }]
    : weighted.map((c) => ({ name: c.name, weight: c.weight?.value ?? 0 }))
  if (action && clusters.length === 0) refuse(what, 'names no cluster')
  return {
    name: m.name ?? '',
    path: decodePath(m.match ?? {}, `${what}.match`),
    headers: (m.match?.headers ?? []).map(
      (h: Message): HeaderMatch => ({
        name: h.name,
        match: h.string_match ? compileString(h.string_match, `${what}.match.headers[${h.name}]`) : undefined,
        invert: h.invert_match ?? false,
      }),
    ),
    clusters,
    totalWeight: clusters.reduce((n, c) => n + c.weight, 0),
    directStatus: m.direct_response?.status ?? 0,
    timeout: fromDuration(action?.timeout) ?? 15_000,
  }
}

export function decodeRoutes(m: Message): RouteTable {
  const exact = new Map<string, VirtualHost>()
  const suffixes: { suffix: string; host: VirtualHost }[] = []
  let any: VirtualHost | undefined
  for (const h of (m.virtual_hosts ?? []) as Message[]) {
    const host: VirtualHost = {
      name: h.name,
      routes: ((h.routes ?? []) as Message[]).map((r, i) =>
        decodeRoute(r, `routes ${m.name}, host ${h.name}, route ${i}`),
      ),
    }
    for (const domain of (h.domains ?? []) as string[]) {
      if (domain === '*') any = host
      else if (domain.startsWith('*')) suffixes.push({ suffix: domain.slice(1).toLowerCase(), host })
      else exact.set(domain.toLowerCase(), host)
    }
  }
  suffixes.sort((a, b) => b.suffix.length - a.suffix.length)
  return { name: m.name, exact, suffixes, any }
}

const HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
const TCP = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'

function decodeChain(m: Message, what: string): Chain {
  const filter = (m.filters ?? [])[(m.filters ?? []).length - 1]
  const any = filter?.typed_config
  if (any?.type_url === HCM) {
    const hcm = HttpConnectionManager.decode(any.value)
    return {
      kind: 'http',
      route: hcm.route_config
        ? decodeRoutes(hcm.route_config)
        : (hcm.rds?.route_config_name ?? refuse(what, 'has neither routes nor a name of routes')),
    }
  }
  if (any?.type_url === TCP) return { kind: 'tcp', cluster: TcpProxy.decode(any.value).cluster ?? '' }
  return refuse(what, `filter ${filter?.name ?? '(none)'} is not supported`)
}

export function decodeListener(m: Message): Listener {
  const address = m.address?.socket_address ?? refuse(`listener ${m.name}`, 'has no socket address')
  return {
    name: m.name,
    address: address.address,
    port: address.port_value ?? 0,
    inbound: m.traffic_direction === 1,
    chains: ((m.filter_chains ?? []) as Message[]).map((c, i) => ({
      port: c.filter_chain_match?.destination_port?.value ?? 0,
      alpn: c.filter_chain_match?.application_protocols ?? [],
      chain: decodeChain(c, `listener ${m.name}, filter chain ${i}`),
    })),
    fallback: m.default_filter_chain
      ? decodeChain(m.default_filter_chain, `listener ${m.name}, default filter chain`)
      : undefined,
    inspect: ((m.listener_filters ?? []) as Message[]).some((f) => f.name === 'envoy.filters.listener.http_inspector'),
  }
}
