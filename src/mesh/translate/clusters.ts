// Clusters and their endpoints: one cluster a port and subset of a service.

import type { Json } from '#api'
import { ClusterType, HttpProtocolOptions, LbPolicy, packAny, toDuration, toStruct, xds } from '#api/xds'
import { parseDuration } from '#base'
import type { Message } from '#wire'
import { endpointsOf, type MeshEndpoint } from '../model/endpoints.ts'
import type { MeshConfig } from '../model/mesh-config.ts'
import { isHttp, type Protocol } from '../model/protocol.ts'
import type { MeshPort, MeshService } from '../model/service.ts'
import { distinction } from '../model/snapshot.ts'
import { clusterName, emptyResources, matches, sealedName, type XdsResources } from '../model/view.ts'
import { addressMessage } from './address.ts'
import { extension } from './extension.ts'
import {
  type LocalityGroup,
  type LocalityPolicy,
  localityGroups,
  localityMessage,
  localityOptions,
  localityPolicy,
} from './locality.ts'
import type { Place } from './place.ts'
import { ADS, addAuthority, addCertificate, addSystemRoots } from './sds.ts'
import { clusterSettings, panicOf } from './traffic-policy.ts'
import { gatewayCertificate, upstreamTls } from './upstream-tls.ts'

/** Options that no policy changes, made once. */
const usual = new Map<Protocol, Message>()

/** The protocol a cluster speaks, and what of HTTP is set for it. */
export function httpOptions(protocol: Protocol, policy: Json = {}, upstream: Message = {}): Message {
  const own = policy.connectionPool || policy.outlierDetection?.outlierDetectionHttpErrorCodes
  if (own || Object.keys(upstream).length > 0) return makeOptions(protocol, policy, upstream)
  const known = usual.get(protocol) ?? makeOptions(protocol, {}, {})
  usual.set(protocol, known)
  return known
}

/** What is spoken with a service, where its policy may have HTTP/1.1 made HTTP/2. */
const spoken = (protocol: Protocol, policy: Json): Protocol =>
  protocol === 'http' && policy.connectionPool?.http?.h2UpgradePolicy === 'UPGRADE' ? 'http2' : protocol

function makeOptions(protocol: Protocol, policy: Json, upstream: Message): Message {
  const http: Json = policy.connectionPool?.http ?? {}
  const upgraded = spoken(protocol, policy)
  const h2 = {
    ...(http.maxConcurrentStreams ? { max_concurrent_streams: { value: http.maxConcurrentStreams } } : {}),
    ...(http.http2KeepAlive
      ? {
          connection_keepalive: {
            interval: toDuration(parseDuration(http.http2KeepAlive.interval) ?? 0),
            timeout: toDuration(parseDuration(http.http2KeepAlive.timeout) ?? 20_000),
          },
        }
      : {}),
  }
  const options =
    http.useClientProtocol || upgraded === 'auto'
      ? { use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: h2 } }
      : upgraded === 'http2'
        ? { explicit_http_config: { http2_protocol_options: h2 } }
        : { explicit_http_config: { http_protocol_options: {} } }
  const common = commonOptions(policy)
  const errors: number[] = policy.outlierDetection?.outlierDetectionHttpErrorCodes ?? []
  return {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': packAny(HttpProtocolOptions, {
      ...options,
      ...(common ? { common_http_protocol_options: common } : {}),
      ...(errors.length > 0 ? { outlier_detection: { error_matcher: anyStatus(errors) } } : {}),
      ...(Object.keys(upstream).length > 0 ? { upstream_http_protocol_options: upstream } : {}),
    }),
  }
}

/** Matches answers with one of these statuses. */
function anyStatus(codes: readonly number[]): Message {
  const rules = codes.map((code) => ({
    http_response_headers_match: { headers: [{ name: ':status', string_match: { exact: String(code) } }] },
  }))
  return rules.length === 1 ? rules[0]! : { or_match: { rules } }
}

function commonOptions(policy: Json): Message | undefined {
  const http: Json = policy.connectionPool?.http ?? {}
  const idle = parseDuration(http.idleTimeout ?? policy.connectionPool?.tcp?.idleTimeout)
  const age = parseDuration(policy.connectionPool?.tcp?.maxConnectionDuration)
  const most = http.maxRequestsPerConnection
  if (idle === undefined && age === undefined && !most) return undefined
  return {
    ...(idle === undefined ? {} : { idle_timeout: toDuration(idle) }),
    ...(age === undefined ? {} : { max_connection_duration: toDuration(age) }),
    ...(most ? { max_requests_per_connection: { value: most } } : {}),
  }
}

/** A policy that leaves HTTP/2 to the mesh has what the mesh says. */
function upgrading(policy: Json, mesh: MeshConfig): Json {
  const { h2UpgradePolicy = 'DEFAULT' } = policy.connectionPool?.http ?? {}
  if (mesh.h2UpgradePolicy !== 'UPGRADE' || h2UpgradePolicy !== 'DEFAULT') return policy
  const { connectionPool = {} } = policy
  return {
    ...policy,
    connectionPool: { ...connectionPool, http: { ...connectionPool.http, h2UpgradePolicy: 'UPGRADE' } },
  }
}

/** A cluster's name in statistics by MeshConfig's pattern (istio/api, MeshConfig.outbound_cluster_stat_name). */
export function statName(pattern: string, service: MeshService, port: MeshPort, subset = ''): string {
  const values: Readonly<Record<string, string>> = {
    '%SERVICE%': service.host.replace(/\.svc\.cluster\.local$/, ''),
    '%SERVICE_NAME%': service.name,
    '%SERVICE_FQDN%': service.host,
    '%SERVICE_PORT%': String(port.number),
    '%SERVICE_PORT_NAME%': port.name,
    '%TARGET_PORT%': String(port.targetPort ?? port.number),
    '%SUBSET_NAME%': subset,
  }
  return pattern.replace(/%[A-Z_]+%/g, (p) => values[p] ?? p)
}

/** Clusters and endpoints as they were last made of a service, by its port and who uses it. */
interface Made {
  readonly inputs: readonly unknown[]
  readonly part: XdsResources
}
const made = new WeakMap<MeshService, Map<string, Made>>()

/** The clusters of a service's port, with their endpoints and secrets; the same messages as long as nothing changed. */
export function addClusters(result: XdsResources, place: Place, service: MeshService, port: MeshPort): void {
  if (service.resolution === 'alias') return
  const { view } = place.snapshot
  const { node } = place
  if (!view.endpointsVersion || service.object.spec?.workloadSelector) return makeClusters(result, place, service, port)
  const rule = place.rule(service)
  // What a Secret says may change without anything else.
  if (rule && usesSecrets(rule)) return makeClusters(result, place, service, port)
  const labels = distinction(place.snapshot, node).join()
  const key = `${node.role} ${node.namespace} ${node.locality} ${labels} ${port.number}`
  const inputs = [rule, view.mesh, view.endpointsVersion(service.object)]
  const known = made.get(service) ?? new Map<string, Made>()
  made.set(service, known)
  let entry = known.get(key)
  if (!entry?.inputs.every((x, i) => x === inputs[i])) {
    const part = emptyResources()
    makeClusters(part, place, service, port)
    entry = { inputs, part }
    known.set(key, entry)
  }
  for (const kind of ['clusters', 'endpoints', 'secrets'] as const)
    for (const [name, message] of entry.part[kind]) result[kind].set(name, message)
}

/** Whether a rule names Secrets. */
export const usesSecrets = (rule: Json): boolean => /"(credentialName|gatewayCertificates)"/.test(JSON.stringify(rule))

function makeClusters(result: XdsResources, place: Place, service: MeshService, port: MeshPort): void {
  const subsets = [{ name: '', labels: {} }, ...((place.rule(service)?.subsets ?? []) as Json[])]
  const endpoints = endpointsOf(place.snapshot.view, service, port)
  for (const subset of subsets) addCluster(result, place, service, port, subset, endpoints)
}

/** A subset's cluster for TLS that is passed on as it is: to endpoints that speak the mesh's own (Istio's sni-dnat). */
export function addSealedCluster(
  result: XdsResources,
  place: Place,
  service: MeshService,
  port: MeshPort,
  subset: string,
): void {
  const subsets: Json[] = place.rule(service)?.subsets ?? []
  const { name = '', labels = {} } = subsets.find((s) => s.name === subset) ?? {}
  addCluster(result, place, service, port, { name, labels }, endpointsOf(place.snapshot.view, service, port), true)
}

/** The TLS mode that a rule asks for towards a port of a subset: of the port's settings, else of those around them. */
function tlsModeOf(rule: Json | undefined, subset: string, port: number): string | undefined {
  const policies: Json[] = [(rule?.subsets ?? []).find((s: Json) => s.name === subset), rule].map(
    (r) => r?.trafficPolicy ?? {},
  )
  for (const { portLevelSettings = [], tls } of policies) {
    const own = (portLevelSettings as Json[]).find((s) => s.port?.number === port && s.tls)?.tls ?? tls
    if (own) return own.mode ?? 'DISABLE'
  }
  return undefined
}

/** Whether an endpoint is spoken to by the mesh's own TLS: as a rule says, else by what its workload bears. */
const speaksMeshTls = (endpoint: MeshEndpoint, mode: string | undefined): boolean =>
  mode ? mode === 'ISTIO_MUTUAL' : endpoint.labels['security.istio.io/tlsMode'] === 'istio'

function addCluster(
  result: XdsResources,
  place: Place,
  service: MeshService,
  port: MeshPort,
  subset: Json,
  endpoints: readonly MeshEndpoint[],
  sealed = false,
): void {
  const { mesh } = place.snapshot.view
  const { host, namespace } = service
  const name = (sealed ? sealedName : clusterName)(port.number, subset.name, host)
  const policy = place.policy(service, subset.name, port.number)
  const near = localityPolicy(policy, service.object, mesh)
  const nearby = localityOptions(near)
  // A gateway does not look into what it forwards: HTTP/1.1 unless the port says otherwise, as Istio's.
  const protocol = place.node.role === 'router' && port.protocol === 'auto' ? 'http' : port.protocol
  const type = clusterType(place, service, policy)
  const tls = sealed ? undefined : upstreamTls(place, service, policy.tls, spoken(protocol, upgrading(policy, mesh)))
  if (tls && policy.tls.credentialName) addCredential(result, place, policy.tls)
  if (tls?.systemRoots) addSystemRoots(result)
  const shown = sealed ? undefined : gatewayCertificate(place, policy.tls)?.split('/')
  if (shown) addCertificate({ result, view: place.snapshot.view, node: place.node }, shown[0]!, shown[1]!, true)
  const mode = sealed ? tlsModeOf(place.rule(service), subset.name, port.number) : undefined
  const mine = endpoints.filter((e) => matches(subset.labels, e.labels) && (!sealed || speaksMeshTls(e, mode)))
  const cluster: Message = {
    name,
    type,
    ...clusterSettings(policy, mesh),
    ...(nearby ? { common_lb_config: { ...panicOf(policy), ...nearby } } : {}),
    metadata: {
      filter_metadata: {
        istio: toStruct({
          services: [{ host, name: service.name, namespace }],
          ...(subset.name ? { subset: subset.name } : {}),
        }),
      },
    },
    ...(mesh.outboundClusterStatName
      ? { alt_stat_name: statName(mesh.outboundClusterStatName, service, port, subset.name) }
      : {}),
    ...(isHttp(protocol) || protocol === 'auto' || policy.connectionPool?.http
      ? { typed_extension_protocol_options: httpOptions(protocol, upgrading(policy, mesh), tls?.options) }
      : {}),
    ...(sealed ? {} : transportOf(tls?.socket, policy.proxyProtocol)),
  }
  if (type === ClusterType.eds) cluster.eds_cluster_config = { eds_config: ADS, service_name: name }
  else if (type === ClusterType.originalDst) {
    cluster.lb_policy = LbPolicy.clusterProvided
    const target = port.targetPort ?? port.number
    if (service.resolution === 'passthrough' && target !== port.number)
      cluster.original_dst_lb_config = { upstream_port_override: { value: target } }
  } else {
    cluster.load_assignment = assignment(name, groupsOf(place, mine, near))
    cluster.dns_lookup_family = V4_ONLY
    cluster.dns_refresh_rate = toDuration(parseDuration(mesh.dnsRefreshRate) ?? 60_000)
    cluster.respect_dns_ttl = true
  }
  result.clusters.set(name, cluster)
  if (type === ClusterType.eds) result.endpoints.set(name, assignment(name, groupsOf(place, mine, near)))
}

/** TLS or nothing, behind the PROXY protocol's line where a policy asks for it. */
function transportOf(tls: Message | undefined, line: Json | undefined): Message {
  if (!line) return tls ? { transport_socket: tls } : {}
  const version = line.version === 'V2' ? 1 : 0
  return {
    transport_socket: {
      name: 'envoy.transport_sockets.upstream_proxy_protocol',
      typed_config: packAny(
        xds('envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport'),
        { config: { version }, transport_socket: tls ?? RAW },
      ),
    },
  }
}

const RAW = extension('envoy.transport_sockets.raw_buffer', 'transport_sockets.raw_buffer.v3.RawBuffer')

const V4_ONLY = 1

function clusterType(place: Place, service: MeshService, policy: Json): number {
  if (service.resolution === 'dns') return ClusterType.strictDns
  if (service.resolution === 'dnsRoundRobin') return ClusterType.logicalDns
  const through = service.resolution === 'passthrough' || policy.loadBalancer?.simple === 'PASSTHROUGH'
  // What is for a gateway never was on its way to the workload.
  return through && place.node.role === 'sidecar' ? ClusterType.originalDst : ClusterType.eds
}

/** What is ready; what is going but still serves only where there is nothing else. */
function groupsOf(place: Place, endpoints: readonly MeshEndpoint[], near: LocalityPolicy | undefined): LocalityGroup[] {
  const ready = endpoints.filter((e) => e.ready)
  return localityGroups(ready.length > 0 ? ready : endpoints, near, place.node)
}

function assignment(name: string, groups: readonly LocalityGroup[]): Message {
  return {
    cluster_name: name,
    endpoints: groups.map((g) => ({
      // gRPC's clients refuse endpoints that are nowhere.
      locality: localityMessage(g.locality),
      ...(g.priority > 0 ? { priority: g.priority } : {}),
      load_balancing_weight: { value: Math.max(1, g.weight) },
      lb_endpoints: g.endpoints.map((e) => ({
        endpoint: {
          address: addressMessage(e.address, e.port),
        },
        ...(e.workload ? { metadata: { filter_metadata: { istio: toStruct({ workload: e.workload }) } } } : {}),
        ...(e.weight > 1 ? { load_balancing_weight: { value: e.weight } } : {}),
      })),
    })),
  }
}

function addCredential(result: XdsResources, place: Place, tls: Json): void {
  const { view } = place.snapshot
  const holder = { result, view, node: place.node }
  if (tls.mode === 'MUTUAL') addCertificate(holder, place.node.namespace, tls.credentialName)
  addAuthority(holder, place.node.namespace, tls.credentialName)
}
