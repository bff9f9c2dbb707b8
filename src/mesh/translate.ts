// Translation: the cluster's objects into the xDS resources of one proxy. Pure.
// Names and shapes follow Istio's (pilot/pkg/networking), so that its tools and habits fit.

import { type Json, type KubeObject, parseDuration } from '#api'
import {
  ClusterType,
  Direction,
  HttpConnectionManager,
  HttpProtocolOptions,
  LbPolicy,
  packAny,
  TcpProxy,
  toDuration,
  toStruct,
} from '#api/xds'
import type { Message } from '#wire'
import { canonicalName, canonicalRevision, workloadOf } from './inject.ts'
import { type Protocol, protocolOf } from './protocol.ts'

export const DOMAIN = 'svc.cluster.local'

/** What translation reads. */
export interface MeshView {
  services: readonly KubeObject[]
  /** EndpointSlices of a Service. */
  slices(service: KubeObject): readonly KubeObject[]
  podByIp(ip: string): KubeObject | undefined
  virtualServices: readonly KubeObject[]
  destinationRules: readonly KubeObject[]
}

/** The proxy that asks. */
export interface ProxyNode {
  namespace: string
  labels: Readonly<Record<string, string>>
  ip: string
  /** The pod's declared container ports. */
  ports: readonly { containerPort: number; name?: string }[]
}

/** Resources by name, a map a type. */
export interface XdsResources {
  clusters: Map<string, Message>
  endpoints: Map<string, Message>
  listeners: Map<string, Message>
  routes: Map<string, Message>
}

const ADS: Message = { ads: {}, resource_api_version: 2 }
const ROUTER = {
  name: 'envoy.filters.http.router',
  typed_config: {
    type_url: 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
    value: new Uint8Array(),
  },
}
const INSPECTOR = { name: 'envoy.filters.listener.http_inspector' }

export const fqdnOf = (service: KubeObject) => `${service.metadata.name}.${service.metadata.namespace}.${DOMAIN}`

/** A host as written in a rule of a namespace, in full. */
export function resolveHost(host: string, namespace: string): string {
  return host.includes('.') ? host : `${host}.${namespace}.${DOMAIN}`
}

export const clusterName = (port: number, subset: string, host: string) => `outbound|${port}|${subset}|${host}`

/** All resources of a proxy. */
export function translate(view: MeshView, node: ProxyNode): XdsResources {
  const result: XdsResources = { clusters: new Map(), endpoints: new Map(), listeners: new Map(), routes: new Map() }
  const rules = new Map(
    view.destinationRules.map((r) => [resolveHost(r.spec?.host ?? '', r.metadata.namespace ?? ''), r]),
  )
  const httpPorts = new Map<number, { service: KubeObject; port: Json }[]>()
  for (const service of [...view.services].sort((a, b) => (fqdnOf(a) < fqdnOf(b) ? -1 : 1))) {
    if (service.spec?.type === 'ExternalName') continue
    for (const port of (service.spec?.ports ?? []) as Json[]) {
      if ((port.protocol ?? 'TCP') !== 'TCP') continue
      const protocol = protocolOf(port)
      addClusters(result, view, service, port, protocol, rules.get(fqdnOf(service)))
      if (protocol === 'tcp') addTcpListener(result, service, port)
      else if (protocol === 'auto') addAutoListener(result, view, node, service, port)
      else {
        const list = httpPorts.get(port.port) ?? []
        list.push({ service, port })
        httpPorts.set(port.port, list)
      }
    }
  }
  for (const [number, entries] of httpPorts) {
    const name = String(number)
    result.listeners.set(
      `0.0.0.0_${number}`,
      outboundListener(`0.0.0.0_${number}`, '0.0.0.0', number, [httpChain(name)], undefined, false),
    )
    const hosts = entries.map(({ service, port }) => virtualHost(view, node, service, port))
    hosts.push({
      name: 'allow_any',
      domains: ['*'],
      routes: [
        { name: 'allow_any', match: { prefix: '/' }, route: { cluster: 'PassthroughCluster', timeout: toDuration(0) } },
      ],
    })
    result.routes.set(name, { name, virtual_hosts: hosts })
  }
  addInbound(result, view, node)
  addVirtual(result)
  return result
}

function httpOptions(protocol: Protocol): Message {
  const options =
    protocol === 'http2'
      ? { explicit_http_config: { http2_protocol_options: {} } }
      : protocol === 'auto'
        ? { use_downstream_protocol_config: {} }
        : { explicit_http_config: { http_protocol_options: {} } }
  return { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': packAny(HttpProtocolOptions, options) }
}

const POLICIES: Record<string, number> = {
  ROUND_ROBIN: LbPolicy.roundRobin,
  RANDOM: LbPolicy.random,
  LEAST_REQUEST: LbPolicy.leastRequest,
  LEAST_CONN: LbPolicy.leastRequest,
  PASSTHROUGH: LbPolicy.clusterProvided,
}

function addClusters(
  result: XdsResources,
  view: MeshView,
  service: KubeObject,
  port: Json,
  protocol: Protocol,
  rule: KubeObject | undefined,
): void {
  const host = fqdnOf(service)
  const subsets: Json[] = [{ name: '', labels: {} }, ...(rule?.spec?.subsets ?? [])]
  for (const subset of subsets) {
    const name = clusterName(port.port, subset.name, host)
    const policy =
      subset.trafficPolicy?.loadBalancer?.simple ?? rule?.spec?.trafficPolicy?.loadBalancer?.simple ?? 'LEAST_REQUEST'
    result.clusters.set(name, {
      name,
      type: ClusterType.eds,
      eds_cluster_config: { eds_config: ADS, service_name: name },
      connect_timeout: toDuration(10_000),
      lb_policy: POLICIES[policy] ?? LbPolicy.leastRequest,
      metadata: {
        filter_metadata: {
          istio: toStruct({ services: [{ host, name: service.metadata.name, namespace: service.metadata.namespace }] }),
        },
      },
      ...(protocol === 'tcp' ? {} : { typed_extension_protocol_options: httpOptions(protocol) }),
    })
    result.endpoints.set(name, {
      cluster_name: name,
      endpoints: [
        { lb_endpoints: endpointsOf(view, service, port, subset.labels ?? {}), load_balancing_weight: { value: 1 } },
      ],
    })
  }
}

/** Ready endpoints whose pod has the labels; without any, those that are going but still serve. */
function endpointsOf(view: MeshView, service: KubeObject, port: Json, labels: Record<string, string>): Message[] {
  const ready: Message[] = []
  const last: Message[] = []
  for (const slice of view.slices(service)) {
    const number = (slice.ports ?? []).find((p: Json) => (p.name ?? '') === (port.name ?? ''))?.port
    if (number === undefined) continue
    for (const e of (slice.endpoints ?? []) as Json[]) {
      const ip = e.addresses[0]
      const pod = view.podByIp(ip)
      if (!Object.entries(labels).every(([k, v]) => pod?.metadata.labels?.[k] === v)) continue
      const endpoint = {
        endpoint: { address: { socket_address: { address: ip, port_value: number } } },
        metadata: { filter_metadata: { istio: toStruct({ workload: workloadText(pod) }) } },
      }
      if (e.conditions?.ready !== false) ready.push(endpoint)
      else if (e.conditions?.serving && e.conditions?.terminating) last.push(endpoint)
    }
  }
  return ready.length > 0 ? ready : last
}

/** "workload;namespace;canonical name;revision;cluster", as Istio's telemetry reads it. */
function workloadText(pod: KubeObject | undefined): string {
  if (!pod) return ''
  const { name } = workloadOf(pod)
  return [
    name,
    pod.metadata.namespace,
    canonicalName(pod.metadata.labels, name),
    canonicalRevision(pod.metadata.labels),
    'Kubernetes',
  ].join(';')
}

function httpChain(route: string): Message {
  return {
    filters: [
      {
        name: 'envoy.filters.network.http_connection_manager',
        typed_config: packAny(HttpConnectionManager, {
          codec_type: 0,
          stat_prefix: `outbound_${route}`,
          rds: { config_source: ADS, route_config_name: route },
          http_filters: [ROUTER],
        }),
      },
    ],
  }
}

function tcpChain(cluster: string): Message {
  return {
    filters: [
      { name: 'envoy.filters.network.tcp_proxy', typed_config: packAny(TcpProxy, { stat_prefix: cluster, cluster }) },
    ],
  }
}

function outboundListener(
  name: string,
  address: string,
  port: number,
  chains: Message[],
  fallback: Message | undefined,
  inspect: boolean,
): Message {
  return {
    name,
    address: { socket_address: { address, port_value: port } },
    filter_chains: chains,
    ...(fallback ? { default_filter_chain: fallback } : {}),
    ...(inspect ? { listener_filters: [INSPECTOR] } : {}),
    traffic_direction: Direction.outbound,
    bind_to_port: { value: false },
  }
}

function addTcpListener(result: XdsResources, service: KubeObject, port: Json): void {
  const ip = service.spec.clusterIP
  if (!ip || ip === 'None') return
  const name = `${ip}_${port.port}`
  result.listeners.set(
    name,
    outboundListener(name, ip, port.port, [tcpChain(clusterName(port.port, '', fqdnOf(service)))], undefined, false),
  )
}

/** A port whose protocol is not declared: HTTP when it looks like HTTP, else bytes. */
function addAutoListener(result: XdsResources, view: MeshView, node: ProxyNode, service: KubeObject, port: Json): void {
  const ip = service.spec.clusterIP
  if (!ip || ip === 'None') return
  const name = `${ip}_${port.port}`
  const route = `${fqdnOf(service)}:${port.port}`
  const chain = { ...httpChain(route), filter_chain_match: { application_protocols: ['http/1.1', 'h2c'] } }
  result.listeners.set(
    name,
    outboundListener(name, ip, port.port, [chain], tcpChain(clusterName(port.port, '', fqdnOf(service))), true),
  )
  result.routes.set(route, {
    name: route,
    virtual_hosts: [{ ...virtualHost(view, node, service, port), domains: ['*'] }],
  })
}

/** The names a Service is called by from a namespace. */
export function domainsOf(service: KubeObject, port: number, from: string): string[] {
  const { name, namespace } = service.metadata
  const names = [
    fqdnOf(service),
    `${name}.${namespace}.svc`,
    `${name}.${namespace}`,
    ...(namespace === from ? [name] : []),
  ]
  if (service.spec.clusterIP && service.spec.clusterIP !== 'None') names.push(service.spec.clusterIP)
  return names.flatMap((n) => [n, `${n}:${port}`])
}

function virtualHost(view: MeshView, node: ProxyNode, service: KubeObject, port: Json): Message {
  const host = fqdnOf(service)
  const rule = view.virtualServices.find(
    (v) =>
      appliesToMesh(v) &&
      (v.spec?.hosts ?? []).some((h: string) => resolveHost(h, v.metadata.namespace ?? '') === host),
  )
  const fallback = {
    name: 'default',
    match: { prefix: '/' },
    route: { cluster: clusterName(port.port, '', host), timeout: toDuration(0) },
    decorator: { operation: `${host}:${port.port}/*` },
  }
  const routes = rule?.spec?.http?.length ? httpRoutes(view, node, rule, service, port) : [fallback]
  return { name: `${host}:${port.port}`, domains: domainsOf(service, port.port, node.namespace), routes }
}

function appliesToMesh(rule: KubeObject): boolean {
  const gateways: string[] | undefined = rule.spec?.gateways
  return !gateways?.length || gateways.includes('mesh')
}

function httpRoutes(view: MeshView, node: ProxyNode, rule: KubeObject, service: KubeObject, port: Json): Message[] {
  const routes: Message[] = []
  for (const http of (rule.spec.http ?? []) as Json[]) {
    const action = routeAction(view, rule, http, service, port)
    const matches: (Json | undefined)[] = http.match?.length ? http.match : [undefined]
    for (const match of matches) {
      if (match && !applies(match, node, port.port)) continue
      routes.push({
        ...(http.name || match?.name ? { name: [http.name, match?.name].filter(Boolean).join('.') } : {}),
        match: routeMatch(match),
        ...action,
        metadata: {
          filter_metadata: {
            istio: toStruct({
              config: `/apis/networking.istio.io/v1/namespaces/${rule.metadata.namespace}/virtual-service/${rule.metadata.name}`,
            }),
          },
        },
        decorator: { operation: `${fqdnOf(service)}:${port.port}/*` },
      })
    }
  }
  return routes
}

function applies(match: Json, node: ProxyNode, port: number): boolean {
  if (match.port !== undefined && match.port !== port) return false
  if (match.gateways?.length && !match.gateways.includes('mesh')) return false
  if (match.sourceNamespace && match.sourceNamespace !== node.namespace) return false
  return Object.entries<string>(match.sourceLabels ?? {}).every(([k, v]) => node.labels[k] === v)
}

function stringMatcher(match: Json): Message | undefined {
  if (match.exact !== undefined) return { exact: match.exact }
  if (match.prefix !== undefined) return { prefix: match.prefix }
  if (match.regex !== undefined) return { safe_regex: { regex: match.regex } }
  return undefined
}

function headerMatcher(name: string, match: Json, invert = false): Message {
  const string = stringMatcher(match)
  return {
    name,
    ...(string ? { string_match: string } : { present_match: true }),
    ...(invert ? { invert_match: true } : {}),
  }
}

function routeMatch(match: Json | undefined): Message {
  const uri: Json = match?.uri ?? {}
  const headers: Message[] = []
  for (const [name, value] of Object.entries<Json>(match?.headers ?? {}))
    headers.push(headerMatcher(name.toLowerCase(), value))
  for (const [name, value] of Object.entries<Json>(match?.withoutHeaders ?? {}))
    headers.push(headerMatcher(name.toLowerCase(), value, true))
  if (match?.method) headers.push(headerMatcher(':method', match.method))
  if (match?.authority) headers.push(headerMatcher(':authority', match.authority))
  if (match?.scheme) headers.push(headerMatcher(':scheme', match.scheme))
  const path =
    uri.exact !== undefined
      ? { path: uri.exact }
      : uri.regex !== undefined
        ? { safe_regex: { regex: uri.regex } }
        : { prefix: uri.prefix ?? '/' }
  return {
    ...path,
    ...(match?.ignoreUriCase ? { case_sensitive: { value: false } } : {}),
    ...(headers.length > 0 ? { headers } : {}),
  }
}

function routeAction(view: MeshView, rule: KubeObject, http: Json, service: KubeObject, port: Json): Message {
  if (http.directResponse) return { direct_response: { status: http.directResponse.status } }
  const timeout = toDuration(parseDuration(http.timeout) ?? 0)
  const target = (destination: Json): string => {
    const host = resolveHost(destination.host, rule.metadata.namespace ?? '')
    const other = host === fqdnOf(service) ? service : view.services.find((s) => fqdnOf(s) === host)
    const ports: Json[] = other?.spec?.ports ?? []
    const number = destination.port?.number ?? (ports.length === 1 ? ports[0]!.port : port.port)
    return clusterName(number, destination.subset ?? '', host)
  }
  const routes: Json[] = http.route ?? []
  if (routes.length === 1) return { route: { cluster: target(routes[0]!.destination), timeout } }
  return {
    route: {
      weighted_clusters: {
        clusters: routes.map((r) => ({ name: target(r.destination), weight: { value: r.weight ?? 0 } })),
      },
      timeout,
    },
  }
}

/** What arrives for the workload: a cluster and a chain for each port it declares or serves. */
function addInbound(result: XdsResources, view: MeshView, node: ProxyNode): void {
  const ports = new Map<number, { protocol: Protocol; service: KubeObject | undefined }>()
  for (const p of node.ports) ports.set(p.containerPort, { protocol: protocolOf({ name: p.name }), service: undefined })
  for (const service of view.services)
    for (const slice of view.slices(service))
      if ((slice.endpoints ?? []).some((e: Json) => e.addresses[0] === node.ip))
        for (const p of (slice.ports ?? []) as Json[]) {
          const declared = (service.spec.ports ?? []).find((x: Json) => (x.name ?? '') === (p.name ?? ''))
          ports.set(p.port, { protocol: protocolOf(declared ?? p), service })
        }
  const chains: Message[] = []
  for (const [port, { protocol, service }] of [...ports].sort(([a], [b]) => a - b)) {
    const name = `inbound|${port}||`
    result.clusters.set(name, {
      name,
      type: ClusterType.originalDst,
      connect_timeout: toDuration(10_000),
      lb_policy: LbPolicy.clusterProvided,
      ...(service
        ? {
            metadata: {
              filter_metadata: {
                istio: toStruct({
                  services: [
                    { host: fqdnOf(service), name: service.metadata.name, namespace: service.metadata.namespace },
                  ],
                }),
              },
            },
          }
        : {}),
      ...(protocol === 'tcp' ? {} : { typed_extension_protocol_options: httpOptions('auto') }),
    })
    const match = { destination_port: { value: port } }
    if (protocol !== 'tcp')
      chains.push({
        ...inboundHttpChain(name, port),
        name: `0.0.0.0_${port}`,
        filter_chain_match: protocol === 'auto' ? { ...match, application_protocols: ['http/1.1', 'h2c'] } : match,
      })
    if (protocol === 'tcp' || protocol === 'auto')
      chains.push({ ...tcpChain(name), name: `0.0.0.0_${port}`, filter_chain_match: match })
  }
  result.clusters.set('InboundPassthroughCluster', {
    name: 'InboundPassthroughCluster',
    type: ClusterType.originalDst,
    connect_timeout: toDuration(10_000),
    lb_policy: LbPolicy.clusterProvided,
    typed_extension_protocol_options: httpOptions('auto'),
  })
  const passthrough = {
    ...inboundHttpChain('InboundPassthroughCluster', 0),
    name: 'virtualInbound-catchall-http',
    filter_chain_match: { application_protocols: ['http/1.1', 'h2c'] },
  }
  result.listeners.set('virtualInbound', {
    name: 'virtualInbound',
    address: { socket_address: { address: '0.0.0.0', port_value: 15006 } },
    filter_chains: [...chains, passthrough],
    default_filter_chain: { ...tcpChain('InboundPassthroughCluster'), name: 'virtualInbound' },
    use_original_dst: { value: true },
    listener_filters: [{ name: 'envoy.filters.listener.original_dst' }, INSPECTOR],
    traffic_direction: Direction.inbound,
  })
}

function inboundHttpChain(cluster: string, port: number): Message {
  const route = { name: 'default', match: { prefix: '/' }, route: { cluster, timeout: toDuration(0) } }
  const config = { name: cluster, virtual_hosts: [{ name: `inbound|http|${port}`, domains: ['*'], routes: [route] }] }
  return {
    filters: [
      {
        name: 'envoy.filters.network.http_connection_manager',
        typed_config: packAny(HttpConnectionManager, {
          codec_type: 0,
          stat_prefix: cluster,
          route_config: config,
          http_filters: [ROUTER],
        }),
      },
    ],
  }
}

/** The listener everything outbound is redirected to, and the clusters for destinations nobody knows. */
function addVirtual(result: XdsResources): void {
  result.clusters.set('PassthroughCluster', {
    name: 'PassthroughCluster',
    type: ClusterType.originalDst,
    connect_timeout: toDuration(10_000),
    lb_policy: LbPolicy.clusterProvided,
    typed_extension_protocol_options: httpOptions('auto'),
  })
  result.clusters.set('BlackHoleCluster', {
    name: 'BlackHoleCluster',
    type: ClusterType.static,
    connect_timeout: toDuration(10_000),
  })
  result.listeners.set('virtualOutbound', {
    name: 'virtualOutbound',
    address: { socket_address: { address: '0.0.0.0', port_value: 15001 } },
    filter_chains: [],
    default_filter_chain: { ...tcpChain('PassthroughCluster'), name: 'virtualOutbound-catchall-tcp' },
    use_original_dst: { value: true },
    traffic_direction: Direction.outbound,
  })
}
