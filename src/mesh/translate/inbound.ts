// What a sidecar does with what arrives for its workload: a cluster and a chain for each port. Pure.

import type { Json } from '#api'
import { ClusterType, Direction, LbPolicy, toDuration, toStruct } from '#api/xds'
import type { Message } from '#wire'
import { declaredProtocol, isHttp, type Protocol, protocolOf } from '../model/protocol.ts'
import type { MeshPort, MeshService } from '../model/service.ts'
import { isSocket } from '../model/unix-socket.ts'
import { matches, type XdsResources } from '../model/view.ts'
import { addressMessage } from './address.ts'
import {
  detectionTimeout,
  HTTP_INSPECTOR,
  inboundHttpChain,
  LOOKS_LIKE_HTTP,
  ORIGINAL_DST,
  tcpChain,
} from './chains.ts'
import { httpOptions, statName } from './clusters.ts'
import type { FilterPatches } from './envoy-filter.ts'
import type { Place } from './place.ts'
import { clusterSettings, UNBOUNDED_BREAKERS } from './traffic-policy.ts'

/** A port of the workload. */
interface InboundPort {
  readonly number: number
  readonly protocol: Protocol
  readonly service: MeshService | undefined
  /** The service's port that leads here. */
  readonly declared?: MeshPort | undefined
  /** Spoken as gRPC: its requests are not tried again. */
  readonly grpc: boolean
  /** Where a Sidecar sends it instead of straight on: "127.0.0.1:8080". */
  readonly endpoint?: string
  readonly pool?: Json
  /** The address it is listened on, where nothing is redirected. */
  readonly bind?: string
}

const CATCH_ALL = 'InboundPassthroughCluster'

/** Adds the clusters of a workload's ports and the listener that everything inbound is redirected to. */
export function addInbound(result: XdsResources, place: Place, patches: FilterPatches): void {
  const { mesh } = place.snapshot.view
  const chains: Message[] = []
  for (const found of portsOf(place)) {
    const port = found.number
    const name = `inbound|${port}||`
    result.clusters.set(name, clusterOf(place, name, found))
    const match = { destination_port: { value: port } }
    const filters = patches.httpFilters('SIDECAR_INBOUND', port)
    if (found.bind !== undefined) {
      result.listeners.set(`${found.bind}_${port}`, boundListener(place, name, port, found))
      continue
    }
    const http = () =>
      inboundHttpChain(mesh, place.node.config, name, port, !found.grpc, filters, (c) =>
        patches.routes('SIDECAR_INBOUND', c),
      )
    if (isHttp(found.protocol)) chains.push({ ...http(), name: `0.0.0.0_${port}`, filter_chain_match: match })
    else if (found.protocol === 'auto')
      chains.push({ ...http(), name: `0.0.0.0_${port}`, filter_chain_match: { ...match, ...LOOKS_LIKE_HTTP } })
    if (!isHttp(found.protocol))
      chains.push({ ...tcpChain(mesh, name), name: `0.0.0.0_${port}`, filter_chain_match: match })
  }
  result.clusters.set(CATCH_ALL, originalDst(CATCH_ALL, { typed_extension_protocol_options: httpOptions('auto') }))
  const passthrough = {
    ...inboundHttpChain(mesh, place.node.config, CATCH_ALL, 0, true),
    name: 'virtualInbound-catchall-http',
    filter_chain_match: LOOKS_LIKE_HTTP,
  }
  result.listeners.set('virtualInbound', {
    name: 'virtualInbound',
    address: { socket_address: { address: '0.0.0.0', port_value: 15006 } },
    filter_chains: [...chains, passthrough],
    default_filter_chain: { ...tcpChain(mesh, CATCH_ALL), name: 'virtualInbound' },
    use_original_dst: { value: true },
    listener_filters: [ORIGINAL_DST, HTTP_INSPECTOR],
    ...detectionTimeout(mesh),
    traffic_direction: Direction.inbound,
  })
}

/** A port that the workload's clients connect to without being redirected. */
function boundListener(place: Place, name: string, port: number, found: InboundPort): Message {
  const { mesh } = place.snapshot.view
  return {
    name: `${found.bind}_${port}`,
    address: { socket_address: { address: found.bind, port_value: port } },
    filter_chains: [
      isHttp(found.protocol)
        ? inboundHttpChain(mesh, place.node.config, name, port, !found.grpc)
        : tcpChain(mesh, name),
    ],
    traffic_direction: Direction.inbound,
  }
}

const originalDst = (name: string, more: Message): Message => ({
  name,
  type: ClusterType.originalDst,
  connect_timeout: toDuration(10_000),
  lb_policy: LbPolicy.clusterProvided,
  circuit_breakers: UNBOUNDED_BREAKERS,
  ...more,
})

function clusterOf(place: Place, name: string, port: InboundPort): Message {
  const { mesh } = place.snapshot.view
  const { number, service, declared } = port
  const endpoint = port.endpoint ?? (mesh.inboundLocalhost ? `127.0.0.1:${number}` : undefined)
  const more: Message = {
    ...(port.pool ? clusterSettings({ connectionPool: port.pool }, mesh) : {}),
    ...(mesh.inboundClusterStatName && service && declared
      ? { alt_stat_name: statName(mesh.inboundClusterStatName, service, declared) }
      : {}),
    ...(service
      ? {
          metadata: {
            filter_metadata: {
              istio: toStruct({ services: [{ host: service.host, name: service.name, namespace: service.namespace }] }),
            },
          },
        }
      : {}),
    ...(isHttp(port.protocol) || port.protocol === 'auto'
      ? { typed_extension_protocol_options: httpOptions('auto', port.pool ? { connectionPool: port.pool } : {}) }
      : {}),
  }
  if (!endpoint) return originalDst(name, { ...more, lb_policy: LbPolicy.clusterProvided })
  const colon = endpoint.lastIndexOf(':')
  const host = endpoint.slice(0, colon)
  const address = isSocket(endpoint)
    ? addressMessage(endpoint, 0)
    : addressMessage(host === '0.0.0.0' ? place.node.ip : host, Number(endpoint.slice(colon + 1)))
  return {
    name,
    type: ClusterType.static,
    connect_timeout: toDuration(10_000),
    circuit_breakers: UNBOUNDED_BREAKERS,
    ...more,
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }],
    },
  }
}

/** What was found of a namespace's services for workloads, by those of their labels that a selector names. */
interface Selecting {
  readonly keys: readonly string[]
  readonly found: Map<string, readonly MeshService[]>
}
const selecting = new WeakMap<readonly MeshService[], Selecting>()

/** The services that select a workload. */
export function servicesOf({ snapshot, node }: Pick<Place, 'snapshot' | 'node'>): readonly MeshService[] {
  const here = snapshot.byNamespace.get(node.namespace)
  if (!here) return []
  const known = selecting.get(here) ?? { keys: selectorKeys(here), found: new Map() }
  selecting.set(here, known)
  const key = JSON.stringify(known.keys.map((k) => node.labels[k] ?? null))
  const found = known.found.get(key) ?? here.filter((s) => selects(s, node.labels))
  known.found.set(key, found)
  return found
}

const selectorOf = ({ object: { kind, spec } }: MeshService): Readonly<Record<string, string>> =>
  (kind === 'ServiceEntry' ? spec?.workloadSelector?.labels : spec?.selector) ?? {}

const selectorKeys = (services: readonly MeshService[]): string[] => [
  ...new Set(services.flatMap((s) => Object.keys(selectorOf(s)))),
]

/** The workload's ports by number: those its Sidecar declares, else those its containers and Services do. */
function portsOf(place: Place): InboundPort[] {
  const { node, scope } = place
  const pool: Json | undefined = scope.sidecar?.spec?.inboundConnectionPool
  const declared = servicesOf(place).flatMap((service) => targetsOf(place, service))
  const ports = new Map<number, InboundPort>()
  for (const listener of scope.ingress) ports.set(listener.port?.number, sidecarPort(place, listener, pool, declared))
  if (scope.ingress.length === 0) {
    const more = pool ? { pool } : {}
    for (const { containerPort: number, name } of node.ports)
      ports.set(number, { number, protocol: protocolOf({ name }), service: undefined, grpc: isGrpc(name), ...more })
    for (const port of declared) ports.set(port.number, { ...port, ...more })
  }
  return [...ports.values()].sort((a, b) => a.number - b.number)
}

/** A port as a Sidecar declares it. */
function sidecarPort(
  place: Place,
  listener: Json,
  pool: Json | undefined,
  declared: readonly InboundPort[],
): InboundPort {
  const { number, protocol, name } = listener.port ?? {}
  const behind = declared.find((p) => p.number === number)
  const given: string = listener.defaultEndpoint ?? ''
  return {
    number,
    protocol: declaredProtocol(protocol || name),
    service: behind?.service,
    declared: behind?.declared,
    grpc: isGrpc(protocol || name),
    ...(listener.captureMode === 'NONE' ? { bind: listener.bind || place.node.ip } : {}),
    ...(given ? { endpoint: given } : {}),
    ...((listener.connectionPool ?? pool) ? { pool: listener.connectionPool ?? pool } : {}),
  }
}

const isGrpc = (text: unknown) => /^grpc($|-(?!web))/i.test(String(text ?? ''))

function selects(service: MeshService, labels: Readonly<Record<string, string>>): boolean {
  const selector = selectorOf(service)
  return Object.keys(selector).length > 0 && matches(selector, labels)
}

/** The ports of the workload that a service's ports lead to. */
function targetsOf(place: Place, service: MeshService): InboundPort[] {
  return service.ports.map((port) => {
    const own: Json | undefined = ((service.object.spec?.ports ?? []) as Json[]).find(
      (p) => (p.port ?? p.number) === port.number && (p.name ?? '') === port.name,
    )
    const target = own?.targetPort ?? port.number
    const { ports, entryPorts } = place.node
    const number =
      typeof target === 'number'
        ? (entryPorts?.[port.name] ?? target)
        : (entryPorts?.[target] ?? ports.find((p) => p.name === target)?.containerPort ?? port.number)
    const protocol = port.protocol === 'tls' ? 'tcp' : port.protocol
    return { number, protocol, service, declared: port, grpc: isGrpc(own?.appProtocol ?? port.name) }
  })
}
