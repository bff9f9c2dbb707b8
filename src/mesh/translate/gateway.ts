// What a gateway is configured with: the servers of Gateways that select it, the rules bound to them, and Ingresses. Pure.

import type { Json, KubeObject } from '#api'
import { ClusterType, Direction, DownstreamTlsContext, packAny, RequireTls, toDuration } from '#api/xds'
import type { Message } from '#wire'
import { OWN_NAMESPACE } from '../model/gateway-labels.ts'
import { intersection } from '../model/host.ts'
import { byAge, emptyResources, type MeshView, matches, type ProxyNode, type XdsResources } from '../model/view.ts'
import type { VirtualService } from '../model/virtual-service.ts'
import { isExported } from '../model/visibility.ts'
import { autoPassthroughChains } from './auto-passthrough.ts'
import { httpChain, PROXY_PROTOCOL, TLS_INSPECTOR } from './chains.ts'
import { addClusters } from './clusters.ts'
import { distinctChains } from './distinct-chains.ts'
import type { FilterPatches } from './envoy-filter.ts'
import { ingressRoutes, ingressTls } from './ingress.ts'
import { chainMatch, tcpRoutes, tlsRoutes } from './l4-routes.ts'
import { countsAttempts, edgeSettings, expectsProxyLine } from './manager-settings.ts'
import { BLACK_HOLE } from './outbound.ts'
import type { Place } from './place.ts'
import { httpRoutes, type RouteScope } from './routes.ts'
import { ADS, addAuthority, addCertificate } from './sds.ts'

/** The label by which the mesh's ingress gateway is known; Ingresses are served by it. */
export const INGRESS_GATEWAY = { istio: 'ingressgateway' } as const

/** One server of a Gateway, at the port its pod listens on. */
interface Server {
  readonly gateway: KubeObject
  readonly spec: Json
  readonly port: number
  readonly bind: string
}

/** A gateway while its resources are being made. */
interface Making {
  readonly result: XdsResources
  readonly place: Place
  readonly patches: FilterPatches
}

const HTTP = new Set(['HTTP', 'HTTP2', 'GRPC', 'GRPC-WEB'])
const TERMINATED = new Set(['SIMPLE', 'MUTUAL', 'OPTIONAL_MUTUAL', ''])

/** All resources of a gateway. */
export function translateGateway(place: Place, patches: FilterPatches): XdsResources {
  const result = emptyResources()
  const { snapshot, node } = place
  const { view } = snapshot
  const making = { result, place, patches }
  for (const service of place.scope.services)
    for (const port of service.ports) addClusters(result, place, service, port)
  result.clusters.set(BLACK_HOLE, { name: BLACK_HOLE, type: ClusterType.static, connect_timeout: toDuration(10_000) })
  const serving = targetPorts(view, node)
  const servers = serversOf(view, node, serving)
  const ingresses = node.servesIngresses ? [...view.ingresses].sort(byAge) : []
  const ingressPort = serving(80)
  const ingressTlsPort = serving(443)
  const listeners = new Map<string, { bind: string; port: number }>()
  const add = (bind: string, port: number) => listeners.set(`${bind}_${port}`, { bind, port })
  for (const s of servers) add(s.bind, s.port)
  if (ingresses.length > 0) add(ANY, ingressPort)
  if (ingresses.some((i) => i.spec?.tls?.length)) add(ANY, ingressTlsPort)
  for (const [name, { bind, port }] of [...listeners].sort(([, a], [, b]) => a.port - b.port)) {
    const here = servers.filter((s) => s.port === port && s.bind === bind)
    const chains: Message[] = []
    const plain = here.filter((s) => HTTP.has(protocolName(s)))
    if (plain.length > 0 || (port === ingressPort && ingresses.length > 0)) {
      const route = `http.${port}`
      chains.push(edgeChain(making, route, port))
      const hosts = new Hosts(node)
      addRules(hosts, place, plain)
      if (port === ingressPort) for (const [host, routes] of ingressRoutes(view, ingresses)) hosts.add(host, routes)
      result.routes.set(route, patches.routes('GATEWAY', hosts.table(route, plain[0]?.spec.port.number ?? 80)))
    }
    const taken = new Set<string>()
    for (const server of here) chains.push(...secureChains(making, server, taken))
    if (port === ingressTlsPort) chains.push(...ingressChains(making, ingresses, port))
    if (chains.length === 0) continue
    result.listeners.set(name, {
      name,
      address: { socket_address: { address: bind, port_value: port } },
      filter_chains: distinctChains(chains),
      listener_filters: [
        ...(expectsProxyLine(node.config) ? [PROXY_PROTOCOL] : []),
        ...(chains.some((c) => c.transport_socket || c.filter_chain_match?.server_names) ? [TLS_INSPECTOR] : []),
      ],
      traffic_direction: Direction.outbound,
    })
  }
  return result
}

const ANY = '0.0.0.0'

const edgeChain = ({ place: { snapshot, node }, patches }: Making, route: string, port: number) =>
  httpChain(
    snapshot.view.mesh,
    node.config,
    route,
    `outbound_0.0.0.0_${port}`,
    edgeSettings(node.config),
    patches.httpFilters('GATEWAY', port),
  )

const protocolName = (s: Server) => String(s.spec.port?.protocol ?? '').toUpperCase()

/** A port of the gateway's Service becomes the port its pod listens on; another number is that port itself. */
function targetPorts(view: MeshView, node: ProxyNode): (port: number) => number {
  const targets = new Map<number, number>()
  for (const service of view.services) {
    if (service.metadata.namespace !== node.namespace) continue
    if (!service.spec?.selector || !matches(service.spec.selector, node.labels)) continue
    for (const p of (service.spec.ports ?? []) as Json[]) targets.set(p.port, numberOf(view, service, p))
  }
  return (port) => targets.get(port) ?? port
}

/** The number of a Service's target port; a name is looked up where its endpoints say it. */
function numberOf(view: MeshView, service: KubeObject, port: Json): number {
  if (typeof port.targetPort === 'number') return port.targetPort
  const ports = view.slices(service).flatMap((slice) => (slice.ports ?? []) as Json[])
  return (port.targetPort && ports.find((p) => (p.name ?? '') === (port.name ?? ''))?.port) || port.port
}

function serversOf(view: MeshView, node: ProxyNode, serving: (port: number) => number): Server[] {
  return [...view.gateways]
    .filter((g) => matches(g.spec?.selector, node.labels))
    .filter((g) => (g.metadata.annotations?.[OWN_NAMESPACE] ?? node.namespace) === node.namespace)
    .sort(byAge)
    .flatMap((gateway) =>
      ((gateway.spec?.servers ?? []) as Json[])
        .filter((s) => s.port?.number)
        .map((spec) => ({ gateway, spec, port: serving(spec.port.number), bind: spec.bind || ANY })),
    )
}

const nameOf = (g: KubeObject) => `${g.metadata.namespace}/${g.metadata.name}`

/** The hosts of a server's entry "namespace/host", and the namespace whose rules may use it. */
function entryOf(server: Server, entry: string): { namespace: string; host: string } {
  const slash = entry.indexOf('/')
  const namespace = slash < 0 ? '*' : entry.slice(0, slash)
  return {
    namespace: namespace === '.' ? (server.gateway.metadata.namespace ?? '') : namespace,
    host: entry.slice(slash + 1).toLowerCase(),
  }
}

/** What of a rule's hosts a server serves; the narrower of the two names counts. */
function servedHosts(server: Server, rule: VirtualService): string[] {
  const result = new Set<string>()
  for (const entry of (server.spec.hosts ?? []) as string[]) {
    const { namespace, host: pattern } = entryOf(server, entry)
    if (namespace !== '*' && namespace !== rule.namespace) continue
    for (const host of rule.hosts) {
      const both = intersection(pattern, host)
      if (both !== undefined) result.add(both)
    }
  }
  return [...result]
}

const hostsOf = (server: Server): string[] =>
  ((server.spec.hosts ?? []) as string[]).map((h) => entryOf(server, h).host)

function boundRules(place: Place, server: Server): VirtualService[] {
  const name = nameOf(server.gateway)
  return place.snapshot.virtualServices.filter(
    (v) => v.gateways.includes(name) && isExported(v.exportTo, v.namespace, place.node.namespace),
  )
}

const scopeOf = (place: Place, server: Server): RouteScope => ({
  place,
  gateways: new Set([nameOf(server.gateway)]),
  port: server.spec.port.number,
})

function addRules(hosts: Hosts, place: Place, servers: readonly Server[]): void {
  for (const server of servers) {
    const scope = scopeOf(place, server)
    for (const rule of boundRules(place, server)) {
      const served = servedHosts(server, rule)
      if (served.length === 0 || rule.http.length === 0) continue
      const routes = httpRoutes(scope, rule)
      for (const host of served) {
        hosts.add(host, routes)
        if (server.spec.tls?.httpsRedirect) hosts.redirect(host)
      }
    }
    if (server.spec.tls?.httpsRedirect) for (const host of hostsOf(server)) hosts.redirect(host)
  }
}

/** Virtual hosts being gathered: rules of one host are joined, those that match everything last. */
class Hosts {
  readonly #routes = new Map<string, Message[]>()
  readonly #redirects = new Set<string>()
  readonly #node: ProxyNode

  constructor(node: ProxyNode) {
    this.#node = node
  }

  add(host: string, routes: readonly Message[]): void {
    this.#routes.set(host, [...(this.#routes.get(host) ?? []), ...routes])
  }

  redirect(host: string): void {
    if (!this.#routes.has(host)) this.#routes.set(host, [])
    this.#redirects.add(host)
  }

  /** `port` is the gateway's as it is declared, whatever its pod listens on. */
  table(name: string, port: number): Message {
    const catchAll = (r: Message) => r.match.prefix === '/' && !r.match.headers && !r.match.query_parameters
    const virtualHosts = [...this.#routes].map(([host, routes]) => ({
      name: `${host}:${port}`,
      domains: [host],
      routes: [...routes.filter((r) => !catchAll(r)), ...routes.filter(catchAll)],
      include_request_attempt_count: countsAttempts(this.#node.config),
      ...(this.#redirects.has(host) ? { require_tls: RequireTls.all } : {}),
    }))
    return { name, virtual_hosts: virtualHosts, ignore_port_in_host_matching: true }
  }
}

/** Chains for what is not plain HTTP: HTTPS, TLS that is ended or passed through, TCP. */
function secureChains(making: Making, server: Server, taken: Set<string>): Message[] {
  const { result, place, patches } = making
  const protocol = protocolName(server)
  if (HTTP.has(protocol)) return []
  const scope = scopeOf(place, server)
  const rules = boundRules(place, server)
  const tls: Json | undefined = server.spec.tls
  const hosts = hostsOf(server)
  if (protocol === 'TCP' && !tls)
    return rules
      .flatMap((rule) => tcpRoutes(scope, rule))
      .slice(0, 1)
      .map((r) => ({ ...r.chain, ...chainMatch(r) }))
  if (tls?.mode === 'PASSTHROUGH')
    // The names a client asks for decide; what it says stays sealed.
    return rules.flatMap((rule) => tlsRoutes(scope, rule, hosts).map((r) => ({ ...r.chain, ...chainMatch(r) })))
  if (tls?.mode === 'AUTO_PASSTHROUGH') return autoPassthroughChains(result, place, hosts)
  if (!TERMINATED.has(tls?.mode ?? '')) return []
  // Of two servers for one name the older Gateway's has it.
  const names = hosts.filter((h) => !taken.has(h))
  if (names.length === 0) return []
  const socket = downstreamTls(result, place, place.node.namespace, tls)
  if (!socket) return []
  for (const name of names) taken.add(name)
  const match = { ...chainMatch({ subnets: [], sources: [], serverNames: names }), transport_socket: socket }
  if (protocol === 'HTTPS') {
    const { name, namespace } = server.gateway.metadata
    const route = `https.${server.spec.port.number}.${server.spec.port.name ?? 'https'}.${name}.${namespace}`
    const table = new Hosts(place.node)
    addRules(table, place, [server])
    result.routes.set(route, patches.routes('GATEWAY', table.table(route, server.spec.port.number)))
    return [{ ...edgeChain(making, route, server.port), ...match }]
  }
  const [first] = rules.flatMap((rule) => tcpRoutes(scope, rule))
  return first ? [{ ...first.chain, ...match }] : []
}

/** The chain of each certificate that Ingresses name, and the routes all of them share. */
function ingressChains(making: Making, ingresses: readonly KubeObject[], port: number): Message[] {
  const { result, place } = making
  const name = `https.${port}.ingress`
  const chains: Message[] = []
  const hosts = new Hosts(place.node)
  const taken = new Set<string>()
  for (const ingress of ingresses) {
    for (const { hosts: all, secretName } of ingressTls(ingress)) {
      const free = all.filter((h) => !taken.has(h))
      if (all.length > 0 && free.length === 0) continue
      for (const h of free) taken.add(h)
      const socket = downstreamTls(result, place, ingress.metadata.namespace ?? '', { credentialName: secretName })
      if (socket)
        chains.push({
          ...edgeChain(making, name, port),
          ...chainMatch({ subnets: [], sources: [], serverNames: free.map((h) => h.toLowerCase()) }),
          transport_socket: socket,
        })
    }
  }
  for (const [host, routes] of ingressRoutes(place.snapshot.view, ingresses)) hosts.add(host, routes)
  if (chains.length > 0) result.routes.set(name, hosts.table(name, 443))
  return chains
}

const VERSIONS: Readonly<Record<string, number>> = { TLSV1_0: 1, TLSV1_1: 2, TLSV1_2: 3, TLSV1_3: 4 }

/** CertificateValidationContext.TrustChainVerification. */
const ACCEPT_UNTRUSTED = 1

/** Files of certificates and their keys. */
function keyFiles(tls: Json | undefined): (readonly [chain: string, key: string])[] {
  const all: Json[] = tls?.tlsCertificates?.length ? tls.tlsCertificates : [tls ?? {}]
  return all.filter((c) => c.serverCertificate && c.privateKey).map((c) => [c.serverCertificate, c.privateKey] as const)
}

/** The TLS of a chain by the name of its Secret, which is delivered apart; undefined without a usable one. */
function downstreamTls(
  result: XdsResources,
  place: Place,
  namespace: string,
  tls: Json | undefined,
): Message | undefined {
  const holder = { result, view: place.snapshot.view, node: place.node }
  const given: string[] = tls?.credentialNames?.length ? tls.credentialNames : [tls?.credentialName ?? '']
  const files = keyFiles(tls)
  // A name with its namespace is that of a Secret elsewhere that was granted.
  const split = (name: string) =>
    (tls?.granted && name.includes('/') ? name.split('/') : [namespace, name]) as [string, string]
  const certificates = given
    .filter(Boolean)
    .map((name) => addCertificate(holder, ...split(name), tls?.granted))
    .filter((name) => name !== undefined)
  if (certificates.length === 0 && files.length === 0) return undefined
  const mutual = tls?.mode === 'MUTUAL' || tls?.mode === 'OPTIONAL_MUTUAL'
  const inline: string | undefined = tls?.caPem
  const authority =
    mutual && inline === undefined
      ? addAuthority(holder, ...split(tls?.caCertCredentialName || given[0] || ''), tls?.granted)
      : undefined
  if (mutual && !authority && inline === undefined && !tls?.caCertificates) return undefined
  const names: string[] = tls?.subjectAltNames ?? []
  const sds = (n: string) => ({ name: n, sds_config: ADS })
  const min = VERSIONS[tls?.minProtocolVersion ?? ''] ?? VERSIONS.TLSV1_2
  const max = VERSIONS[tls?.maxProtocolVersion ?? '']
  const pins: Message = {
    ...(tls?.verifyCertificateSpki?.length ? { verify_certificate_spki: tls.verifyCertificateSpki } : {}),
    ...(tls?.verifyCertificateHash?.length ? { verify_certificate_hash: tls.verifyCertificateHash } : {}),
    ...(tls?.insecureSkipVerify ? { trust_chain_verification: ACCEPT_UNTRUSTED } : {}),
  }
  const check =
    names.length > 0
      ? {
          ...pins,
          match_typed_subject_alt_names: names.map((exact) => ({
            san_type: exact.includes('://') ? 3 : 2,
            matcher: { exact },
          })),
        }
      : pins
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: packAny(DownstreamTlsContext, {
      common_tls_context: {
        alpn_protocols: ['h2', 'http/1.1'],
        tls_params: {
          tls_minimum_protocol_version: min,
          ...(max ? { tls_maximum_protocol_version: max } : {}),
          ...(tls?.cipherSuites?.length ? { cipher_suites: tls.cipherSuites } : {}),
        },
        ...(certificates.length > 0
          ? { tls_certificate_sds_secret_configs: certificates.map(sds) }
          : {
              tls_certificates: files.map(([chain, key]) => ({
                certificate_chain: { filename: chain },
                private_key: { filename: key },
              })),
            }),
        ...(authority
          ? {
              combined_validation_context: {
                default_validation_context: check,
                validation_context_sds_secret_config: sds(authority),
              },
            }
          : mutual
            ? {
                validation_context: {
                  trusted_ca: inline === undefined ? { filename: tls?.caCertificates } : { inline_string: inline },
                  ...(tls?.caCrl ? { crl: { filename: tls.caCrl } } : {}),
                  ...check,
                },
              }
            : {}),
      },
      ...(tls?.mode === 'MUTUAL' ? { require_client_certificate: { value: true } } : {}),
    }),
  }
}
