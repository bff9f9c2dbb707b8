// Generates generated/xds.json: the fields of Envoy's messages, out of the .proto files that come with gRPC's own
// xDS client. Run at install; nothing it writes is committed.

import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import protobuf from 'protobufjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const target = join(root, 'generated', 'xds.json')
const protos = join(root, 'node_modules/@grpc/grpc-js-xds/deps')
const PLACES = [
  ...['envoy-api', 'googleapis', 'protoc-gen-validate', 'xds'].map((place) => join(protos, place)),
  join(root, 'node_modules/protobufjs'),
]

/** Files whose messages are resources, filters, or parts of them that are packed by name. */
const FILES = [
  'service/discovery/v3/discovery',
  'service/discovery/v3/ads',
  'service/status/v3/csds',
  'service/ratelimit/v3/rls',
  'service/auth/v3/external_auth',
  'admin/v3/config_dump',
  'admin/v3/clusters',
  'admin/v3/listeners',
  'admin/v3/server_info',
  'admin/v3/memory',
  'config/common/matcher/v3/matcher',
  'config/listener/v3/listener',
  'config/route/v3/route',
  'config/route/v3/scoped_route',
  'config/cluster/v3/cluster',
  'config/endpoint/v3/endpoint',
  'config/accesslog/v3/accesslog',
  'config/trace/v3/opentelemetry',
  'config/trace/v3/zipkin',
  'extensions/access_loggers/file/v3/file',
  'extensions/access_loggers/stream/v3/stream',
  'extensions/filters/network/http_connection_manager/v3/http_connection_manager',
  'extensions/filters/network/tcp_proxy/v3/tcp_proxy',
  'extensions/filters/network/rbac/v3/rbac',
  'extensions/filters/network/sni_cluster/v3/sni_cluster',
  'extensions/filters/http/router/v3/router',
  'extensions/filters/http/fault/v3/fault',
  'extensions/filters/http/cors/v3/cors',
  'extensions/filters/http/buffer/v3/buffer',
  'extensions/filters/http/local_ratelimit/v3/local_rate_limit',
  'extensions/filters/http/ratelimit/v3/rate_limit',
  'extensions/filters/http/ext_authz/v3/ext_authz',
  'extensions/filters/http/rbac/v3/rbac',
  'extensions/filters/http/jwt_authn/v3/config',
  'extensions/filters/http/grpc_stats/v3/config',
  'extensions/filters/http/stateful_session/v3/stateful_session',
  'extensions/filters/listener/tls_inspector/v3/tls_inspector',
  'extensions/filters/listener/original_dst/v3/original_dst',
  'extensions/filters/listener/http_inspector/v3/http_inspector',
  'extensions/filters/listener/proxy_protocol/v3/proxy_protocol',
  'extensions/transport_sockets/tls/v3/tls',
  'extensions/transport_sockets/raw_buffer/v3/raw_buffer',
  'extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol',
  'extensions/upstreams/http/v3/http_protocol_options',
  'extensions/load_balancing_policies/least_request/v3/least_request',
  'extensions/load_balancing_policies/round_robin/v3/round_robin',
  'extensions/load_balancing_policies/ring_hash/v3/ring_hash',
  'extensions/load_balancing_policies/random/v3/random',
  'extensions/load_balancing_policies/maglev/v3/maglev',
  'extensions/retry/host/previous_hosts/v3/previous_hosts',
  'extensions/retry/priority/previous_priorities/v3/previous_priorities_config',
].map((name) => `envoy/${name}.proto`)

/** Messages and fields that the package does not know, most of later Envoys. */
const LATER: Readonly<Record<string, Readonly<Record<string, [number, string]>>>> = {
  'xds.type.v3.TypedStruct': { type_url: [1, 'string'], value: [2, '@google.protobuf.Struct'] },
  'envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget': {
    budget_interval: [3, '@google.protobuf.Duration'],
  },
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
    outlier_detection: [8, '@envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection'],
  },
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection': {
    error_matcher: [1, '@envoy.config.common.matcher.v3.MatchPredicate'],
  },
}

/** What nobody here reads or writes, by the beginning of the message's name. */
const WITHOUT =
  /^(udpa|validate|xds\.(annotations|type\.matcher)|google\.protobuf\.(Descriptor|File|Field|Enum|Message|Method|Service|One|Generated|Source|Uninterpreted))/

const newest = Math.max(
  statSync(fileURLToPath(import.meta.url)).mtimeMs,
  statSync(join(protos, '../package.json')).mtimeMs,
)
if (existsSync(target) && statSync(target).mtimeMs > newest) process.exit(0)

const all = new protobuf.Root()
all.resolvePath = (_origin, name) => {
  for (const place of PLACES) if (existsSync(join(place, name))) return join(place, name)
  return name
}
all.loadSync(FILES, { keepCase: true })
all.resolveAll()

const types: Record<string, Record<string, [number, string]>> = {}
const enums: Record<string, Record<number, string>> = {}

function nameOf(item: protobuf.ReflectionObject): string {
  return item.fullName.slice(1)
}

function take(type: protobuf.Type): void {
  const name = nameOf(type)
  if (WITHOUT.test(name) || types[name]) return
  const fields: Record<string, [number, string]> = {}
  types[name] = fields
  for (const field of type.fieldsArray) {
    field.resolve()
    const { resolvedType } = field
    let of: string = field.type
    if (resolvedType instanceof protobuf.Type) {
      if (WITHOUT.test(nameOf(resolvedType))) continue
      take(resolvedType)
      of = `@${nameOf(resolvedType)}`
    } else if (resolvedType instanceof protobuf.Enum) {
      const { valuesById } = resolvedType
      enums[nameOf(resolvedType)] = valuesById
      of = `#${nameOf(resolvedType)}`
    }
    const shape = field instanceof protobuf.MapField ? `{${field.keyType}}` : field.repeated ? '*' : ''
    fields[nameIn(name, field.name)] = [field.id, shape + of]
  }
}

/** Protobuf's own types come with names in camel case. */
const nameIn = (type: string, field: string) =>
  type.startsWith('google.protobuf.') ? field.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`) : field

function visit(space: protobuf.NamespaceBase): void {
  for (const item of space.nestedArray) {
    if (item instanceof protobuf.Type && FILES.some((f) => item.filename?.endsWith(f))) take(item)
    if (item instanceof protobuf.Namespace) visit(item)
  }
}
visit(all)
for (const [name, fields] of Object.entries(LATER)) types[name] = { ...types[name], ...fields }

mkdirSync(dirname(target), { recursive: true })
// A line a message: a reader takes apart only those it needs.
const lines = Object.fromEntries(
  Object.entries(types).map(([name, fields]) => [
    name,
    Object.entries(fields)
      .map(([field, [number, type]]) => `${field} ${number} ${type}`)
      .join(','),
  ]),
)
writeFileSync(target, JSON.stringify({ types: lines, enums }))
process.stderr.write(`xds: ${Object.keys(types).length} messages\n`)
