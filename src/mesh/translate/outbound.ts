// What a sidecar does with what leaves its workload: listeners by address and port, routes by host. Pure.

import { ClusterType, Direction, LbPolicy, toDuration, toStruct } from '#api/xds'
import type { Message } from '#wire'
import { endpointsOf } from '../model/endpoints.ts'
import { covers, resolveHost } from '../model/host.ts'
import { isHttp } from '../model/protocol.ts'
import type { MeshPort, MeshService } from '../model/service.ts'
import { type Egress, madeForHost } from '../model/sidecar-scope.ts'
import { isSocket } from '../model/unix-socket.ts'
import { clusterName, type XdsResources } from '../model/view.ts'
import type { VirtualService } from '../model/virtual-service.ts'
import { detectionTimeout, HTTP_INSPECTOR, httpChain, LOOKS_LIKE_HTTP, TLS_INSPECTOR, tcpChain } from './chains.ts'
import { addClusters, httpOptions } from './clusters.ts'
import { distinctChains } from './distinct-chains.ts'
import type { FilterPatches } from './envoy-filter.ts'
import { type ByteRoute, chainMatch, tcpRoutes, tlsRoutes } from './l4-routes.ts'
import { countsAttempts, headerSettings } from './manager-settings.ts'
import { type Place, serviceOf } from './place.ts'
import { defaultRoute, httpRoutes, type RouteScope, timeoutOf } from './routes.ts'
import { UNBOUNDED_BREAKERS } from './traffic-policy.ts'

export const PASSTHROUGH = 'PassthroughCluster'
export const BLACK_HOLE = 'BlackHoleCluster'

const ANY = '0.0.0.0'
/**
 * Beside more clusters than this a sidecar is told to ask for listeners that it has not got: sooner than any are left
 * out (`xds/subscription.ts`), for a question too many does no harm.
 */
const ASKS_FROM = 100
/** What says so, in the listener of all addresses. */
const ASKS = { filter_metadata: { sampan: toStruct({ listeners_on_demand: true }) } }

/** One listener while it is being gathered: HTTP by a table, and chains of bytes. */
interface Gathered {
  readonly address: string
  readonly port: number
  /** The table of routes of what is HTTP. */
  table?: string
  /** HTTP for certain: it need not be told from anything else. */
  declared: boolean
  readonly bytes: ByteRoute[]
  /** Whether it is listened on, instead of being redirected to. */
  readonly bound: boolean
  /** What takes the bytes that no chain names. */
  rest?: Message
}

/** The virtual hosts of a table while it is being gathered. */
interface Table {
  readonly name: string
  readonly hosts: Message[]
  readonly taken: Set<string>
}

/** Adds clusters, listeners and routes for everything a sidecar imports. */
export function addOutbound(result: XdsResources, place: Place, patches: FilterPatches): void {
  const { scope } = place
  for (const service of scope.services) for (const port of service.ports) addClusters(result, place, service, port)
  const listeners = new Map<string, Gathered>()
  const tables = new Map<string, Table>()
  const declared = new Set(scope.egress.map((e) => e.port))
  for (const egress of scope.egress) {
    const here = (port: number) => (egress.port === undefined ? !declared.has(port) : egress.port === port)
    for (const service of egress.services)
      for (const port of service.ports)
        if (here(port.number)) addPort({ place, egress, listeners, tables }, service, port)
    addUnknownHosts({ place, egress, listeners, tables })
  }
  const unknown = catchAll(place)
  for (const { name, hosts } of tables.values())
    result.routes.set(
      name,
      patches.routes('SIDECAR_OUTBOUND', {
        name,
        virtual_hosts: name.includes(':') ? hosts : [...hosts, unknown],
        ignore_port_in_host_matching: true,
        validate_clusters: { value: false },
      }),
    )
  for (const [name, gathered] of listeners) result.listeners.set(name, listenerOf(place, name, gathered, patches))
  addVirtual(result, place)
}

interface Gathering {
  readonly place: Place
  readonly egress: Egress
  readonly listeners: Map<string, Gathered>
  readonly tables: Map<string, Table>
}

function gather(g: Gathering, address: string, port: number): Gathered {
  const key = `${address}_${port}`
  const known = g.listeners.get(key)
  if (known) return known
  const made: Gathered = { address, port, declared: true, bytes: [], bound: g.egress.bound }
  g.listeners.set(key, made)
  return made
}

function tableOf(g: Gathering, name: string): Table {
  const known = g.tables.get(name)
  if (known) return known
  const made: Table = { name, hosts: [], taken: new Set() }
  g.tables.set(name, made)
  return made
}

function addPort(g: Gathering, service: MeshService, port: MeshPort): void {
  if (isHttp(port.protocol)) {
    const listener = gather(g, g.egress.bind || ANY, port.number)
    listener.table ??= String(port.number)
    addHost(g, tableOf(g, listener.table), service, port)
    return
  }
  if (service.resolution === 'alias') return
  // Ranges share a port's listener and are told apart in it, as is what has no address at all.
  const addresses = addressesOf(g.place, service, port)
  const plain = addresses.filter((a) => !a.includes('/'))
  const wide = addresses.filter((a) => a.includes('/'))
  for (const address of plain) addBytes(g, service, port, g.egress.bind || address, [])
  if (wide.length > 0 || (addresses.length === 0 && !service.headless))
    addBytes(g, service, port, g.egress.bind || ANY, wide)
}

/** Where connections for a service go: its addresses; a headless one's are those of its endpoints. */
function addressesOf(place: Place, service: MeshService, port: MeshPort): readonly string[] {
  // An automatic address means something only to who is told it.
  const unknown = service.automatic && place.node.role === 'sidecar' && !place.node.dnsCapture
  if (service.addresses.length > 0 && !unknown) return service.addresses
  if (!service.headless) return []
  return endpointsOf(place.snapshot.view, service, port)
    .map((e) => e.address)
    .filter((address) => !isSocket(address))
    .slice(0, MOST_PODS)
}

/** So many endpoints of a headless Service get listeners of their own at most. */
const MOST_PODS = 256

/** A port of bytes, or one that is looked into: HTTP when it looks like HTTP, else bytes. */
function addBytes(
  g: Gathering,
  service: MeshService,
  port: MeshPort,
  address: string,
  subnets: readonly string[],
): void {
  const { place } = g
  const listener = gather(g, address, port.number)
  const { rules } = g.egress
  const scope: RouteScope = { place, gateways: MESH, port: port.number, service }
  const tcpRules = () => madeForHost(rules, service.host, (rule) => tcpRoutes(scope, rule))
  const chain = tcpChain(
    place.snapshot.view.mesh,
    clusterName(port.number, '', service.host),
    place.policy(service, '', port.number),
  )
  if (port.protocol === 'tls') {
    // Names are taken as they stand: a short host of the rule is a short name here.
    const asked = madeForHost(rules, service.host, (rule) => tlsRoutes(scope, rule, ['*']))
    listener.bytes.push(...asked.map((r) => ({ ...r, subnets: r.subnets.length > 0 ? r.subnets : subnets })))
    // At an address of its own every name is the service's; elsewhere only its own name is.
    const serverNames = address === ANY && subnets.length === 0 ? [service.host] : []
    const covered = asked.some((r) => r.serverNames.some((n) => covers(n, service.host)))
    const tcp = asked.length === 0 ? tcpRules() : []
    if (tcp.length > 0) addChains(listener, tcp, subnets)
    else if (!covered || serverNames.length === 0)
      addChains(listener, [{ subnets: [], serverNames, sources: [], chain }], subnets)
    return
  }
  if (port.protocol === 'auto') {
    listener.declared = false
    if (address === ANY) {
      listener.table ??= String(port.number)
      addHost(g, tableOf(g, listener.table), service, port)
    } else if (!listener.table) {
      listener.table = `${service.host}:${port.number}`
      const table = tableOf(g, listener.table)
      if (table.hosts.length === 0) table.hosts.push({ ...hostOf(g, service, port), domains: ['*'] })
    }
  }
  const routes = tcpRules()
  const usual = { subnets: [], serverNames: [], sources: [], chain }
  const complete = routes.some((r) => r.subnets.length === 0 && r.sources.length === 0)
  addChains(listener, complete ? routes : [...routes, usual], subnets)
}

function addChains(listener: Gathered, routes: readonly ByteRoute[], subnets: readonly string[]): void {
  for (const route of routes) {
    const narrowed = { ...route, subnets: route.subnets.length > 0 ? route.subnets : subnets }
    const open = narrowed.subnets.length + narrowed.serverNames.length + narrowed.sources.length === 0
    // The first of several that want everything has it.
    if (open) listener.rest ??= narrowed.chain
    else listener.bytes.push(narrowed)
  }
}

const MESH: ReadonlySet<string> = new Set(['mesh'])

function addHost(g: Gathering, table: Table, service: MeshService, port: MeshPort): void {
  const host = hostOf(g, service, port)
  const domains = (host.domains as string[]).filter((d) => !table.taken.has(d))
  if (domains.length === 0) return
  for (const d of domains) table.taken.add(d)
  table.hosts.push({ ...host, domains })
}

/** The virtual host by which a sidecar reaches a service's port. */
function hostOf(g: Gathering, service: MeshService, port: MeshPort): Message {
  const { place } = g
  const target = service.aliasOf ? serviceOf(place, service.host) : service
  const scope: RouteScope = { place, gateways: MESH, port: port.number, service }
  const ruled = madeForHost(g.egress.rules, service.host, (rule) =>
    rule.http.length > 0 ? httpRoutes(scope, rule) : [],
  )
  const own = target ? [defaultRoute(place, target, port.number)] : [unknownRoute(place)]
  return {
    name: `${service.host}:${port.number}`,
    domains: domainsOf(service, place.node.namespace),
    routes: ruled.length > 0 ? ruled : own,
    include_request_attempt_count: countsAttempts(place.node.config),
  }
}

/** The names a service is called by from a namespace. */
export function namesOf(service: MeshService, from: string): string[] {
  const { name, namespace, host } = service
  const names = [host]
  if (service.object.kind !== 'ServiceEntry') {
    names.push(`${name}.${namespace}.svc`, `${name}.${namespace}`)
    if (namespace === from) names.push(name)
    // Each endpoint of a headless Service has a name below its own.
    if (service.headless)
      names.push(
        `*.${host}`,
        `*.${name}.${namespace}.svc`,
        `*.${name}.${namespace}`,
        ...(namespace === from ? [`*.${name}`] : []),
      )
  }
  names.push(...service.addresses.filter((a) => !a.includes('/')))
  return names
}

/** The same, and names in full with the dot of the root zone; ports are not looked at. */
const domainsOf = (service: MeshService, from: string): string[] =>
  namesOf(service, from).flatMap((n) => (n === service.host || n === `*.${service.host}` ? [n, `${n}.`] : [n]))

/** Hosts of rules that no service bears are known at port 80, as in Istio. */
function addUnknownHosts(g: Gathering): void {
  const { place, egress } = g
  const table = g.tables.get('80')
  if (!table || (egress.port !== undefined && egress.port !== 80)) return
  const claimed = new Set<VirtualService>()
  const attempts = countsAttempts(place.node.config)
  for (const rule of egress.rules) {
    if (rule.http.length === 0 || claimed.has(rule)) continue
    claimed.add(rule)
    const unknown = rule.hosts.filter((h) => !place.scope.services.some((s) => covers(h, s.host)))
    for (const host of unknown) {
      if (table.taken.has(host)) continue
      const routes = httpRoutes({ place, gateways: MESH, port: 80 }, rule)
      if (routes.length === 0) continue
      table.taken.add(host)
      table.hosts.push({ name: `${host}:80`, domains: [host], routes, include_request_attempt_count: attempts })
    }
  }
}

/** Where requests for hosts that nobody knows go. */
function unknownRoute(place: Place): Message {
  return place.scope.outbound === 'REGISTRY_ONLY'
    ? { name: 'block_all', match: { prefix: '/' }, direct_response: { status: 502 } }
    : {
        name: 'allow_any',
        match: { prefix: '/' },
        route: { cluster: unknownCluster(place), ...timeoutOf(0) },
      }
}

function unknownCluster(place: Place): string {
  const { egressProxy, outbound } = place.scope
  if (outbound === 'REGISTRY_ONLY') return BLACK_HOLE
  if (!egressProxy?.host) return PASSTHROUGH
  const host = resolveHost(egressProxy.host, place.node.namespace)
  return clusterName(egressProxy.port?.number ?? 0, egressProxy.subset ?? '', host)
}

function catchAll(place: Place): Message {
  const route = unknownRoute(place)
  return {
    name: route.name,
    domains: ['*'],
    routes: [route],
    include_request_attempt_count: countsAttempts(place.node.config),
  }
}

function listenerOf(place: Place, name: string, g: Gathered, patches: FilterPatches): Message {
  const { mesh } = place.snapshot.view
  const chains: Message[] = []
  const filters = patches.httpFilters('SIDECAR_OUTBOUND', g.port)
  const headers = headerSettings(place.node.config)
  const http = g.table ? httpChain(mesh, place.node.config, g.table, `outbound_${name}`, headers, filters) : undefined
  const bytes = g.bytes.map((route) => ({
    ...route.chain,
    ...chainMatch(route, route.serverNames.length > 0 ? { transport_protocol: 'tls' } : {}),
  }))
  // At a port of any address others than those known may be meant, who speak something else.
  const open = g.address === ANY && g.rest === undefined
  const looked = http !== undefined && (open || !g.declared || bytes.length > 0 || g.rest !== undefined)
  if (http) chains.push(looked ? { ...http, filter_chain_match: LOOKS_LIKE_HTTP } : http)
  chains.push(...bytes)
  const unknown = open || chains.length === bytes.length
  const rest = g.rest ?? (unknown ? tcpChain(mesh, unknownCluster(place)) : undefined)
  const inspectors = [
    ...(g.bytes.some((r) => r.serverNames.length > 0) ? [TLS_INSPECTOR] : []),
    ...(looked ? [HTTP_INSPECTOR] : []),
  ]
  return {
    name,
    address: { socket_address: { address: g.address, port_value: g.port } },
    filter_chains: chains.length > 0 ? distinctChains(chains) : rest ? [rest] : [],
    ...(chains.length > 0 && rest ? { default_filter_chain: rest } : {}),
    ...(inspectors.length > 0 ? { listener_filters: inspectors } : {}),
    ...(inspectors.length > 0 ? detectionTimeout(mesh) : {}),
    traffic_direction: Direction.outbound,
    ...(g.bound ? {} : { bind_to_port: { value: false } }),
  }
}

/** The listener everything outbound is redirected to, and the clusters for destinations nobody knows. */
function addVirtual(result: XdsResources, place: Place): void {
  result.clusters.set(PASSTHROUGH, {
    name: PASSTHROUGH,
    type: ClusterType.originalDst,
    connect_timeout: toDuration(10_000),
    lb_policy: LbPolicy.clusterProvided,
    circuit_breakers: UNBOUNDED_BREAKERS,
    typed_extension_protocol_options: httpOptions('auto', { connectionPool: { http: { idleTimeout: '300s' } } }),
  })
  result.clusters.set(BLACK_HOLE, {
    name: BLACK_HOLE,
    type: ClusterType.static,
    connect_timeout: toDuration(10_000),
  })
  result.listeners.set('virtualOutbound', {
    name: 'virtualOutbound',
    address: { socket_address: { address: ANY, port_value: 15001 } },
    filter_chains: [],
    default_filter_chain: {
      ...tcpChain(place.snapshot.view.mesh, unknownCluster(place)),
      name: 'virtualOutbound-catchall-tcp',
    },
    use_original_dst: { value: true },
    traffic_direction: Direction.outbound,
    ...(result.clusters.size > ASKS_FROM ? { metadata: ASKS } : {}),
  })
}
