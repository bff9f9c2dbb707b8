// Envoy's xDS v3 messages, every field of them: tables made at install from Envoy's own .proto files.

import { type FieldSpec, type FieldType, type Message, MessageType, mapOf, repeated, type Scalar } from '#wire'
import generated from '../../../generated/xds.json' with { type: 'json' }

/** A field: its number and type; "@" before a message, "#" an enum, "*" many, "{key}" a map. */
type FieldRow = readonly [number: number, type: string]

/** For each message its fields in one text, "name number type" with commas between. */
const types = generated.types as Readonly<Record<string, string>>
const enums = generated.enums as unknown as Readonly<Record<string, Readonly<Record<string, string>>>>
const made = new Map<string, MessageType>()
const tables = new Map<string, Readonly<Record<string, FieldRow>>>()

/** The fields of a message by name; undefined for one that is not known. */
export function fieldsOf(name: string): Readonly<Record<string, FieldRow>> | undefined {
  const text = types[name]
  if (text === undefined) return undefined
  let table = tables.get(name)
  if (!table) {
    const rows = text === '' ? [] : text.split(',').map((row) => row.split(' '))
    table = Object.fromEntries(rows.map(([field = '', number, type = '']) => [field, [Number(number), type] as const]))
    tables.set(name, table)
  }
  return table
}

/** Protobuf types that are read like another one. */
const ALIAS: Readonly<Record<string, Scalar>> = { sint32: 'sint64', sfixed32: 'fixed32', sfixed64: 'fixed64' }

function fieldType(of: string): FieldType {
  if (of.startsWith('@')) return () => xds(of.slice(1))
  if (of.startsWith('#')) return 'enum'
  return ALIAS[of] ?? (of as Scalar)
}

function spec([number, type]: readonly [number, string]): FieldSpec {
  if (type.startsWith('*')) return [number, repeated(fieldType(type.slice(1)))]
  const [, key, of] = /^\{(\w+)\}(.*)$/.exec(type) ?? []
  return [number, of ? mapOf(fieldType(of), key as Scalar) : fieldType(type)]
}

/** A message by its full name. Fails with RangeError on one that is not known. */
export function xds(name: string): MessageType {
  let type = made.get(name)
  if (!type) {
    const fields = fieldsOf(name)
    if (!fields) throw new RangeError(`Cannot find the message ${name}`)
    type = new MessageType(name, Object.fromEntries(Object.entries(fields).map(([field, f]) => [field, spec(f)])))
    made.set(name, type)
  }
  return type
}

/** Whether a message of this name is known. */
export const isXds = (name: string): boolean => types[name] !== undefined

/** The names of an enum's numbers. */
export const enumOf = (name: string) => enums[name]

const TYPE_URL = 'type.googleapis.com/'

/** The message in an Any, with its full name. Fails with RangeError when its type is not known. */
export function unpackAny(any: { type_url?: string; value?: Uint8Array }): {
  name: string
  value: Message
} {
  const name = (any.type_url ?? '').replace(TYPE_URL, '')
  return { name, value: xds(name).decode(any.value ?? new Uint8Array()) }
}

export const Struct = xds('google.protobuf.Struct')
export const Any = xds('google.protobuf.Any')
export const DiscoveryRequest = xds('envoy.service.discovery.v3.DiscoveryRequest')
export const DiscoveryResponse = xds('envoy.service.discovery.v3.DiscoveryResponse')
export const DeltaDiscoveryRequest = xds('envoy.service.discovery.v3.DeltaDiscoveryRequest')
export const DeltaDiscoveryResponse = xds('envoy.service.discovery.v3.DeltaDiscoveryResponse')
export const Listener = xds('envoy.config.listener.v3.Listener')
export const RouteConfiguration = xds('envoy.config.route.v3.RouteConfiguration')
export const Cluster = xds('envoy.config.cluster.v3.Cluster')
export const ClusterLoadAssignment = xds('envoy.config.endpoint.v3.ClusterLoadAssignment')
export const Secret = xds('envoy.extensions.transport_sockets.tls.v3.Secret')
export const HttpConnectionManager = xds(
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
)
export const TcpProxy = xds('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy')
export const HttpProtocolOptions = xds('envoy.extensions.upstreams.http.v3.HttpProtocolOptions')
export const DownstreamTlsContext = xds('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext')
export const UpstreamTlsContext = xds('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext')

/** Type URLs of resources. */
export const TYPE = {
  cluster: `${TYPE_URL}envoy.config.cluster.v3.Cluster`,
  endpoint: `${TYPE_URL}envoy.config.endpoint.v3.ClusterLoadAssignment`,
  listener: `${TYPE_URL}envoy.config.listener.v3.Listener`,
  route: `${TYPE_URL}envoy.config.route.v3.RouteConfiguration`,
  secret: `${TYPE_URL}envoy.extensions.transport_sockets.tls.v3.Secret`,
} as const

/** Numbers of enumerations. */
export const ClusterType = { static: 0, strictDns: 1, logicalDns: 2, eds: 3, originalDst: 4 } as const
export const LbPolicy = {
  roundRobin: 0,
  leastRequest: 1,
  ringHash: 2,
  random: 3,
  maglev: 5,
  clusterProvided: 6,
} as const
export const HealthStatus = { unknown: 0, healthy: 1, unhealthy: 2, draining: 3, timeout: 4, degraded: 5 } as const
export const RequireTls = { none: 0, externalOnly: 1, all: 2 } as const
export const RedirectCode = { moved: 0, found: 1, seeOther: 2, temporary: 3, permanent: 4 } as const
export const AppendAction = { appendOrAdd: 0, addIfAbsent: 1, overwriteOrAdd: 2, overwrite: 3 } as const
export const Direction = { unspecified: 0, inbound: 1, outbound: 2 } as const

export const streamAggregatedResources = {
  path: '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
  request: DiscoveryRequest,
  response: DiscoveryResponse,
}
export const deltaAggregatedResources = {
  path: '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
  request: DeltaDiscoveryRequest,
  response: DeltaDiscoveryResponse,
}
