// The data plane's own model, decoded from xDS. A resource that cannot be used is refused with a reason.

import {
  ClusterType,
  DownstreamTlsContext,
  fromDuration,
  fromStruct,
  HttpConnectionManager,
  HttpProtocolOptions,
  LbPolicy,
  RequireTls,
  TcpProxy,
} from '#api/xds'
import { SampanError } from '#base'
import { compileRe2, type Re2 } from '#base/re2'
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

/** Header fields to set, add and remove on one side of an exchange. Names are lower case. */
export interface HeaderEdits {
  readonly set: readonly (readonly [name: string, value: string])[]
  readonly add: readonly (readonly [name: string, value: string])[]
  readonly remove: readonly string[]
}

export interface WeightedCluster {
  readonly name: string
  readonly weight: number
  readonly request?: HeaderEdits
  readonly response?: HeaderEdits
}

/** How a request's target changes on its way. */
export interface Rewrite {
  readonly host?: string
  path?(path: string): string
}

/** What a client is sent to instead. */
export interface Redirect {
  readonly status: number
  readonly scheme?: string
  readonly host?: string
  readonly port?: number
  readonly path?: string
}

export interface Route {
  readonly name: string
  readonly path: StringMatch
  readonly headers: readonly HeaderMatch[]
  /** Clusters with their weights; empty for a direct response. */
  readonly clusters: readonly WeightedCluster[]
  readonly totalWeight: number
  readonly directStatus: number
  readonly directBody: string
  readonly redirect?: Redirect
  readonly rewrite?: Rewrite
  readonly request?: HeaderEdits
  readonly response?: HeaderEdits
  /** Query parameters that must match. */
  readonly query: readonly { readonly name: string; readonly match: StringMatch | undefined }[]
  /** Milliseconds; 0 is none. */
  readonly timeout: number
}

export interface VirtualHost {
  readonly name: string
  /** Plain requests are sent to https. */
  readonly requireTls: boolean
  readonly routes: readonly Route[]
}

export interface RouteTable {
  readonly name: string
  readonly exact: ReadonlyMap<string, VirtualHost>
  /** "*.suffix" domains, the longest first. */
  readonly suffixes: readonly { suffix: string; host: VirtualHost }[]
  readonly any: VirtualHost | undefined
  /** Whether "host:port" is looked up as "host". */
  readonly ignorePort: boolean
}

export interface HttpChain {
  readonly kind: 'http'
  readonly route: string | RouteTable
  /** The `server` field of answers. */
  readonly serverName: string
  /** At the edge, the connection tells who the client is. */
  readonly edge: boolean
}

export type Chain = HttpChain | { readonly kind: 'tcp'; readonly cluster: string }

/** TLS that a chain ends: names of secrets, which come apart. */
export interface ChainTls {
  readonly certificate: string
  readonly authority?: string
  readonly requireClient: boolean
  readonly alpn: readonly string[]
}

export interface ChainMatch {
  readonly port: number
  readonly alpn: readonly string[]
  /** Names asked for in TLS, "*.suffix" among them; empty for any. */
  readonly serverNames: readonly string[]
  readonly tls?: ChainTls
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
  /** Whether the proxy listens there itself; otherwise connections come by redirection. */
  readonly bind: boolean
  /** Whether TLS is looked into before a chain is chosen. */
  readonly inspectTls: boolean
}

/** A certificate with its key, or authorities to check clients by. PEM. */
export interface TlsSecret {
  readonly certificate?: string
  readonly key?: string
  readonly authority?: string
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
  const compiled = re2(regex, what)
  return { test: (v) => compiled.matches(v) }
}

function re2(regex: string, what: string): Re2 {
  try {
    return compileRe2(regex)
  } catch (error) {
    return refuse(what, `invalid regex: ${(error as Error).message}`)
  }
}

function decodePath(match: Message, what: string): StringMatch {
  const insensitive = match.case_sensitive?.value === false
  const fold = (s: string) => (insensitive ? s.toLowerCase() : s)
  if (match.path !== undefined) return { test: (v) => fold(v) === fold(match.path) }
  if (match.safe_regex) return compileRegex(match.safe_regex.regex, what)
  if (match.path_separated_prefix) {
    const base = fold(match.path_separated_prefix)
    return { test: (v) => fold(v) === base || fold(v).startsWith(`${base}/`) }
  }
  const prefix = match.prefix ?? refuse(what, 'has no path specifier')
  return prefix === '/' ? { test: () => true } : { test: (v) => fold(v).startsWith(fold(prefix)) }
}

const APPEND = 0

/** Edits out of a message's request_ or response_ fields; undefined when there are none. */
function decodeEdits(m: Message, side: 'request' | 'response'): HeaderEdits | undefined {
  const options = (m[`${side}_headers_to_add`] ?? []) as Message[]
  const remove = (m[`${side}_headers_to_remove`] ?? []) as string[]
  if (options.length === 0 && remove.length === 0) return undefined
  const pairs = (append: boolean) =>
    options
      .filter((o) => ((o.append_action ?? APPEND) === APPEND) === append)
      .map((o) => [String(o.header?.key).toLowerCase(), String(o.header?.value ?? '')] as const)
  return { set: pairs(false), add: pairs(true), remove: remove.map((n) => n.toLowerCase()) }
}

/** The edits a message has, as properties to spread. */
function editsOf(m: Message): { request?: HeaderEdits; response?: HeaderEdits } {
  const request = decodeEdits(m, 'request')
  const response = decodeEdits(m, 'response')
  return { ...(request ? { request } : {}), ...(response ? { response } : {}) }
}

/** Replaces the matched part of a path; the query stays. */
function decodeRewrite(action: Message | undefined, match: Message, what: string): Rewrite | undefined {
  const { prefix_rewrite: prefix, regex_rewrite: regex, host_rewrite_literal: host } = action ?? {}
  if (!prefix && !regex && !host) return undefined
  const matched: string = match.path ?? match.path_separated_prefix ?? match.prefix ?? ''
  let path: Rewrite['path']
  if (prefix) path = (p) => joinPath(prefix, p.slice(matched.length))
  else if (regex) {
    const pattern = re2(regex.pattern?.regex ?? '', what)
    path = (p) => pattern.replaceAll(p, String(regex.substitution ?? ''))
  }
  return { ...(host ? { host } : {}), ...(path ? { path } : {}) }
}

/** "/" and "" in place of a prefix do not leave "//" or nothing. */
function joinPath(prefix: string, rest: string): string {
  const joined = prefix.endsWith('/') && rest.startsWith('/') ? prefix + rest.slice(1) : prefix + rest
  return joined.startsWith('/') ? joined : `/${joined}`
}

const REDIRECT_STATUS = [301, 302, 303, 307, 308]

function decodeRedirect(m: Message | undefined): Redirect | undefined {
  if (!m) return undefined
  return {
    status: REDIRECT_STATUS[m.response_code ?? 0] ?? 301,
    ...(m.https_redirect ? { scheme: 'https' } : m.scheme_redirect ? { scheme: m.scheme_redirect } : {}),
    ...(m.host_redirect ? { host: m.host_redirect } : {}),
    ...(m.port_redirect ? { port: m.port_redirect } : {}),
    ...(m.path_redirect ? { path: m.path_redirect } : {}),
  }
}

/** The text of a DataSource. */
function dataOf(m: Message | undefined): string {
  return m?.inline_string ?? (m?.inline_bytes ? Buffer.from(m.inline_bytes).toString('utf8') : '')
}

function decodeRoute(m: Message, what: string): Route {
  const action = m.route
  if (!action && !m.direct_response && !m.redirect) refuse(what, 'its action is not supported')
  const weighted = (action?.weighted_clusters?.clusters ?? []) as Message[]
  const clusters = action?.cluster
    ? [{ name: action.cluster, weight: 1 }]
    : weighted.map((c) => ({ name: c.name, weight: c.weight?.value ?? 0, ...editsOf(c) }))
  if (action && clusters.length === 0) refuse(what, 'names no cluster')
  const redirect = decodeRedirect(m.redirect)
  const rewrite = decodeRewrite(action, m.match ?? {}, `${what}.route`)
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
    directBody: dataOf(m.direct_response?.body),
    ...(redirect ? { redirect } : {}),
    ...(rewrite ? { rewrite } : {}),
    ...editsOf(m),
    query: ((m.match?.query_parameters ?? []) as Message[]).map((q) => ({
      name: q.name,
      match: q.string_match ? compileString(q.string_match, `${what}.match.query_parameters[${q.name}]`) : undefined,
    })),
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
      requireTls: h.require_tls === RequireTls.all,
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
  return { name: m.name, exact, suffixes, any, ignorePort: m.ignore_port_in_host_matching ?? false }
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
      serverName: hcm.server_name || 'envoy',
      edge: hcm.use_remote_address?.value ?? false,
    }
  }
  if (any?.type_url === TCP) return { kind: 'tcp', cluster: TcpProxy.decode(any.value).cluster ?? '' }
  return refuse(what, `filter ${filter?.name ?? '(none)'} is not supported`)
}

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext'

function decodeTls(m: Message | undefined, what: string): ChainTls | undefined {
  if (!m) return undefined
  if (m.typed_config?.type_url !== TLS) return refuse(what, `transport socket ${m.name} is not supported`)
  const context = DownstreamTlsContext.decode(m.typed_config.value)
  const common = context.common_tls_context ?? {}
  const authority = common.validation_context_sds_secret_config?.name
  return {
    certificate: common.tls_certificate_sds_secret_configs?.[0]?.name ?? refuse(what, 'TLS names no certificate'),
    ...(authority ? { authority } : {}),
    requireClient: context.require_client_certificate?.value ?? false,
    alpn: common.alpn_protocols ?? [],
  }
}

export function decodeSecret(m: Message): TlsSecret {
  const { tls_certificate: own, validation_context: check } = m
  return {
    ...(own ? { certificate: dataOf(own.certificate_chain), key: dataOf(own.private_key) } : {}),
    ...(check ? { authority: dataOf(check.trusted_ca) } : {}),
  }
}

function tlsOf(chain: Message, what: string): { tls?: ChainTls } {
  const tls = decodeTls(chain.transport_socket, what)
  return tls ? { tls } : {}
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
      serverNames: c.filter_chain_match?.server_names ?? [],
      ...tlsOf(c, `listener ${m.name}, filter chain ${i}`),
      chain: decodeChain(c, `listener ${m.name}, filter chain ${i}`),
    })),
    fallback: m.default_filter_chain
      ? decodeChain(m.default_filter_chain, `listener ${m.name}, default filter chain`)
      : undefined,
    bind: m.bind_to_port?.value ?? !m.use_original_dst?.value,
    inspectTls: ((m.listener_filters ?? []) as Message[]).some(
      (f) => f.name === 'envoy.filters.listener.tls_inspector',
    ),
    inspect: ((m.listener_filters ?? []) as Message[]).some((f) => f.name === 'envoy.filters.listener.http_inspector'),
  }
}
