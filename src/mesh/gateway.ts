// What a gateway is configured with: the servers of Gateways that select it, the rules bound to them, and Ingresses.

import type { Json, KubeObject } from '#api'
import { Direction, DownstreamTlsContext, packAny, RequireTls } from '#api/xds'
import type { Message } from '#wire'
import { ADS, httpChain, tcpChain } from './chains.ts'
import { addClusters } from './clusters.ts'
import { ingressRoutes, ingressTls } from './ingress.ts'
import { protocolOf } from './protocol.ts'
import { clusterOf, gatewaysOf, httpRoutes, type RouteScope } from './routes.ts'
import {
  destinationRules,
  emptyResources,
  fqdnOf,
  type MeshView,
  type ProxyNode,
  servicePortsOf,
  type XdsResources,
} from './view.ts'

/** The label by which the mesh's ingress gateway is known; Ingresses are served by it. */
export const INGRESS_GATEWAY = { istio: 'ingressgateway' } as const

/** One server of a Gateway, at the port its pod listens on. */
interface Server {
  readonly gateway: KubeObject
  readonly spec: Json
  readonly port: number
}

const HTTP = new Set(['HTTP', 'HTTP2', 'GRPC', 'GRPC-WEB'])
const TERMINATED = new Set(['SIMPLE', 'MUTUAL', 'OPTIONAL_MUTUAL', 'ISTIO_MUTUAL', ''])

/** Orders objects by age, then by name: the older of two that conflict wins. */
const byAge = (a: KubeObject, b: KubeObject): number =>
  a.metadata.creationTimestamp.localeCompare(b.metadata.creationTimestamp) ||
  `${a.metadata.namespace}/${a.metadata.name}`.localeCompare(`${b.metadata.namespace}/${b.metadata.name}`)

/** All resources of a gateway. */
export function translateGateway(view: MeshView, node: ProxyNode): XdsResources {
  const result = emptyResources()
  const rules = destinationRules(view)
  for (const { service, port } of servicePortsOf(view)) {
    const protocol = protocolOf(port)
    // A gateway does not look into what it forwards: HTTP/1.1 unless the port says otherwise, as Istio's.
    addClusters(result, view, service, port, protocol === 'auto' ? 'http' : protocol, rules.get(fqdnOf(service)))
  }
  const serving = targetPorts(view, node)
  const servers = serversOf(view, node, serving)
  const ingresses = node.servesIngresses ? [...view.ingresses].sort(byAge) : []
  const ingressPort = serving(80)
  const ingressTlsPort = serving(443)
  const ports = new Set(servers.map((s) => s.port))
  if (ingresses.length > 0) ports.add(ingressPort)
  if (ingresses.some((i) => i.spec?.tls?.length)) ports.add(ingressTlsPort)
  for (const port of [...ports].sort((a, b) => a - b)) {
    const here = servers.filter((s) => s.port === port)
    const chains: Message[] = []
    const plain = here.filter((s) => HTTP.has(protocolName(s)))
    if (plain.length > 0 || (port === ingressPort && ingresses.length > 0)) {
      const name = `http.${port}`
      chains.push(httpChain(name, `outbound_0.0.0.0_${port}`, EDGE))
      const hosts = new Hosts()
      addRules(hosts, view, node, plain)
      if (port === ingressPort) for (const [host, routes] of ingressRoutes(view, ingresses)) hosts.add(host, routes)
      result.routes.set(name, hosts.table(name))
    }
    for (const server of here) chains.push(...secureChains(result, view, node, server))
    if (port === ingressTlsPort) chains.push(...ingressChains(result, view, node, ingresses, port))
    if (chains.length === 0) continue
    const name = `0.0.0.0_${port}`
    result.listeners.set(name, {
      name,
      address: { socket_address: { address: '0.0.0.0', port_value: port } },
      filter_chains: chains,
      listener_filters: chains.some((c) => c.transport_socket || c.filter_chain_match?.server_names)
        ? [{ name: 'envoy.filters.listener.tls_inspector' }]
        : [],
      traffic_direction: Direction.outbound,
    })
  }
  return result
}

/** At the edge the client's address is the connection's, whatever its headers say. */
const EDGE: Message = { use_remote_address: { value: true }, server_name: 'istio-envoy' }

const protocolName = (s: Server) => String(s.spec.port?.protocol ?? '').toUpperCase()

export function matches(selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([k, v]) => labels[k] === v)
}

/** A port of the gateway's Service becomes the port its pod listens on; another number is that port itself. */
function targetPorts(view: MeshView, node: ProxyNode): (port: number) => number {
  const targets = new Map<number, number>()
  for (const service of view.services) {
    if (service.metadata.namespace !== node.namespace) continue
    if (!service.spec?.selector || !matches(service.spec.selector, node.labels)) continue
    for (const p of (service.spec.ports ?? []) as Json[])
      targets.set(p.port, typeof p.targetPort === 'number' ? p.targetPort : p.port)
  }
  return (port) => targets.get(port) ?? port
}

function serversOf(view: MeshView, node: ProxyNode, serving: (port: number) => number): Server[] {
  return [...view.gateways]
    .filter((g) => matches(g.spec?.selector ?? {}, node.labels))
    .sort(byAge)
    .flatMap((gateway) =>
      ((gateway.spec?.servers ?? []) as Json[])
        .filter((s) => s.port?.number)
        .map((spec) => ({ gateway, spec, port: serving(spec.port.number) })),
    )
}

const gatewayName = (g: KubeObject) => `${g.metadata.namespace}/${g.metadata.name}`

/** True when `pattern` ("*", "*.example.com" or a name) covers `host`. */
function covers(pattern: string, host: string): boolean {
  if (pattern === '*' || pattern === host) return true
  return pattern.startsWith('*.') && host.endsWith(pattern.slice(1)) && host.length > pattern.length - 1
}

/** What of a rule's hosts a server serves; the narrower of the two names counts. */
function servedHosts(server: Server, rule: KubeObject): string[] {
  const result: string[] = []
  for (const entry of (server.spec.hosts ?? []) as string[]) {
    const slash = entry.indexOf('/')
    const namespace = slash < 0 ? '*' : entry.slice(0, slash)
    const pattern = entry.slice(slash + 1)
    const from = namespace === '.' ? server.gateway.metadata.namespace : namespace
    if (from !== '*' && from !== rule.metadata.namespace) continue
    for (const host of (rule.spec?.hosts ?? []) as string[])
      if (covers(pattern, host)) result.push(host)
      else if (covers(host, pattern)) result.push(pattern)
  }
  return [...new Set(result)]
}

function boundRules(view: MeshView, server: Server): KubeObject[] {
  const name = gatewayName(server.gateway)
  return [...view.virtualServices].filter((v) => gatewaysOf(v).includes(name)).sort(byAge)
}

const scopeOf = (view: MeshView, node: ProxyNode, server: Server): RouteScope => ({
  view,
  node,
  gateways: new Set([gatewayName(server.gateway)]),
  port: server.spec.port.number,
})

function addRules(hosts: Hosts, view: MeshView, node: ProxyNode, servers: readonly Server[]): void {
  for (const server of servers) {
    const scope = scopeOf(view, node, server)
    for (const rule of boundRules(view, server))
      for (const host of servedHosts(server, rule)) hosts.add(host, httpRoutes(scope, rule))
    if (server.spec.tls?.httpsRedirect)
      for (const entry of (server.spec.hosts ?? []) as string[]) hosts.redirect(entry.slice(entry.indexOf('/') + 1))
  }
}

/** Virtual hosts being gathered: rules of one host are joined, those that match everything last. */
class Hosts {
  readonly #routes = new Map<string, Message[]>()
  readonly #redirects = new Set<string>()

  add(host: string, routes: readonly Message[]): void {
    this.#routes.set(host, [...(this.#routes.get(host) ?? []), ...routes])
  }

  redirect(host: string): void {
    if (!this.#routes.has(host)) this.#routes.set(host, [])
    this.#redirects.add(host)
  }

  table(name: string): Message {
    const catchAll = (r: Message) => r.match.prefix === '/' && !r.match.headers && !r.match.query_parameters
    const virtualHosts = [...this.#routes].map(([host, routes]) => ({
      name: `${host}:${name.split('.')[1]}`,
      domains: [host],
      routes: [...routes.filter((r) => !catchAll(r)), ...routes.filter(catchAll)],
      ...(this.#redirects.has(host) ? { require_tls: RequireTls.all } : {}),
    }))
    return { name, virtual_hosts: virtualHosts, ignore_port_in_host_matching: true }
  }
}

/** Chains for what is not plain HTTP: HTTPS, TLS that is ended or passed through, TCP. */
function secureChains(result: XdsResources, view: MeshView, node: ProxyNode, server: Server): Message[] {
  const protocol = protocolName(server)
  if (HTTP.has(protocol)) return []
  const scope = scopeOf(view, node, server)
  const rules = boundRules(view, server)
  const tls: Json | undefined = server.spec.tls
  const names = ((server.spec.hosts ?? []) as string[]).map((h) => h.slice(h.indexOf('/') + 1))
  if (protocol === 'TCP') {
    for (const rule of rules)
      for (const route of (rule.spec?.tcp ?? []) as Json[])
        if (route.route?.[0]) return [tcpChain(clusterOf(route.route[0].destination, scope, rule))]
    return []
  }
  if (!TERMINATED.has(tls?.mode ?? '')) {
    // The names a client asks for decide; what it says stays sealed.
    return rules.flatMap((rule) =>
      ((rule.spec?.tls ?? []) as Json[]).flatMap((route) => {
        const hosts = (route.match ?? []).flatMap((m: Json) => m.sniHosts ?? [])
        const target = route.route?.[0]?.destination
        if (!target || hosts.length === 0) return []
        return [{ ...tcpChain(clusterOf(target, scope, rule)), filter_chain_match: { server_names: wanted(hosts) } }]
      }),
    )
  }
  const secret = credential(result, view, node, node.namespace, tls)
  if (!secret) return []
  const match = { filter_chain_match: { server_names: wanted(names) }, transport_socket: secret }
  if (protocol === 'HTTPS') {
    const { name, namespace } = server.gateway.metadata
    const route = `https.${server.spec.port.number}.${server.spec.port.name ?? 'https'}.${name}.${namespace}`
    const hosts = new Hosts()
    addRules(hosts, view, node, [server])
    result.routes.set(route, hosts.table(route))
    return [{ ...httpChain(route, `outbound_0.0.0.0_${server.port}`, EDGE), ...match }]
  }
  for (const rule of rules)
    for (const route of (rule.spec?.tcp ?? []) as Json[])
      if (route.route?.[0]) return [{ ...tcpChain(clusterOf(route.route[0].destination, scope, rule)), ...match }]
  return []
}

/** Server names of a chain match; "*" is every name. */
const wanted = (hosts: readonly string[]) => (hosts.includes('*') ? [] : hosts.map((h) => h.toLowerCase()))

/** The chain of each certificate that Ingresses name, and the routes all of them share. */
function ingressChains(
  result: XdsResources,
  view: MeshView,
  node: ProxyNode,
  ingresses: readonly KubeObject[],
  port: number,
): Message[] {
  const name = `https.${port}.ingress`
  const chains: Message[] = []
  const hosts = new Hosts()
  const taken = new Set<string>()
  for (const ingress of ingresses) {
    for (const { hosts: all, secretName } of ingressTls(ingress)) {
      const free = all.filter((h) => !taken.has(h))
      if (all.length > 0 && free.length === 0) continue
      for (const h of free) taken.add(h)
      const socket = credential(result, view, node, ingress.metadata.namespace ?? '', { credentialName: secretName })
      if (socket)
        chains.push({
          ...httpChain(name, `outbound_0.0.0.0_${port}`, EDGE),
          filter_chain_match: { server_names: wanted(free) },
          transport_socket: socket,
        })
    }
  }
  for (const [host, routes] of ingressRoutes(view, ingresses)) hosts.add(host, routes)
  if (chains.length > 0) result.routes.set(name, hosts.table(name))
  return chains
}

/** The TLS of a chain by the name of its Secret, which is delivered apart; undefined without a usable one. */
function credential(
  result: XdsResources,
  view: MeshView,
  node: ProxyNode,
  namespace: string,
  tls: Json | undefined,
): Message | undefined {
  const given: string = tls?.credentialName ?? tls?.credentialNames?.[0] ?? ''
  if (!given || !(namespace === node.namespace ? node.readsSecrets : node.servesIngresses)) return undefined
  const secret = view.secret(namespace, given)
  const { 'tls.crt': cert, 'tls.key': key, 'ca.crt': ca } = secret?.data ?? {}
  const chain = cert ?? secret?.data?.cert
  const privateKey = key ?? secret?.data?.key
  if (!chain || !privateKey) return undefined
  const name = `kubernetes://${namespace}/${given}`
  result.secrets.set(name, {
    name,
    tls_certificate: {
      certificate_chain: { inline_bytes: Buffer.from(chain, 'base64') },
      private_key: { inline_bytes: Buffer.from(privateKey, 'base64') },
    },
  })
  const mutual = tls?.mode === 'MUTUAL' || tls?.mode === 'OPTIONAL_MUTUAL'
  const authority = ca ?? secret?.data?.cacert ?? view.secret(namespace, `${given}-cacert`)?.data?.['ca.crt']
  if (mutual && !authority) return undefined
  if (mutual)
    result.secrets.set(`${name}-cacert`, {
      name: `${name}-cacert`,
      validation_context: { trusted_ca: { inline_bytes: Buffer.from(authority, 'base64') } },
    })
  const sds = (n: string) => ({ name: n, sds_config: ADS })
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: packAny(DownstreamTlsContext, {
      common_tls_context: {
        alpn_protocols: ['h2', 'http/1.1'],
        tls_certificate_sds_secret_configs: [sds(name)],
        ...(mutual ? { validation_context_sds_secret_config: sds(`${name}-cacert`) } : {}),
      },
      ...(tls?.mode === 'MUTUAL' ? { require_client_certificate: { value: true } } : {}),
    }),
  }
}
