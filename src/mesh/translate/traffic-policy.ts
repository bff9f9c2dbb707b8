// A DestinationRule's traffic policy as a cluster's settings. Pure (networking/v1 DestinationRule; Istio's defaults).

import type { Json } from '#api'
import { LbPolicy, toDuration } from '#api/xds'
import { parseDuration } from '#base'
import type { Message } from '#wire'
import { DEFAULT_MESH, type MeshConfig } from '../model/mesh-config.ts'

const POLICIES: Readonly<Record<string, number>> = {
  ROUND_ROBIN: LbPolicy.roundRobin,
  RANDOM: LbPolicy.random,
  LEAST_REQUEST: LbPolicy.leastRequest,
  LEAST_CONN: LbPolicy.leastRequest,
  PASSTHROUGH: LbPolicy.clusterProvided,
}

/** No bound: Istio's circuit breakers are open unless a rule closes them. */
const UNBOUNDED = 2 ** 32 - 1

/** Breakers that are open. Envoy's own are closed at 1,024 of everything. */
export const UNBOUNDED_BREAKERS: Message = breakers({})

function breakers({ connectionPool: { tcp = {}, http = {} } = {}, retryBudget }: Json): Message {
  return {
    thresholds: [
      {
        max_connections: { value: tcp.maxConnections || UNBOUNDED },
        max_pending_requests: { value: http.http1MaxPendingRequests || UNBOUNDED },
        max_requests: { value: http.http2MaxRequests || UNBOUNDED },
        max_retries: { value: http.maxRetries || UNBOUNDED },
        ...budget(retryBudget),
      },
    ],
  }
}

/** A pool that is unwell is not used all the same, unless the policy says from where on. */
export const panicOf = (policy: Json): Message => ({
  healthy_panic_threshold: { value: policy.outlierDetection?.minHealthPercent ?? 0 },
})

/** The policy that a DestinationRule's spec has for a port of a subset: what is nearest counts, part by part; settings of a port count alone. */
export function policyFor(rule: Json | undefined, subset: string, port: number): Json {
  const outer: Json = rule?.trafficPolicy ?? {}
  const inner: Json = (rule?.subsets ?? []).find((s: Json) => s.name === subset)?.trafficPolicy ?? {}
  const ofPort = (policy: Json) =>
    (policy.portLevelSettings ?? []).find((p: Json) => p.port?.number === port) as Json | undefined
  // A tunnel is the destination's, whatever its ports' settings; a subset has only its own.
  return { ...(ofPort(outer) ?? outer), ...(ofPort(inner) ?? inner), tunnel: (subset ? inner : outer).tunnel }
}

const wrapped = (name: string, value: number | undefined): Message => (value === undefined ? {} : { [name]: { value } })
const millis = (text: string | undefined) => (text === undefined ? undefined : parseDuration(text))
const duration = (name: string, text: string | undefined): Message => {
  const ms = millis(text)
  return ms === undefined ? {} : { [name]: toDuration(ms) }
}

/** What a policy says of a cluster, but for the protocol it speaks. */
export function clusterSettings(policy: Json, mesh: MeshConfig = DEFAULT_MESH): Message {
  const tcp: Json = policy.connectionPool?.tcp ?? {}
  return {
    connect_timeout: toDuration(millis(tcp.connectTimeout) ?? millis(mesh.connectTimeout) ?? 10_000),
    circuit_breakers: breakers(policy),
    ...keepalive(tcp.tcpKeepalive ?? mesh.tcpKeepalive),
    ...balancing(policy.loadBalancer),
    ...(policy.outlierDetection ? outliers(policy.outlierDetection) : {}),
    common_lb_config: panicOf(policy),
  }
}

function keepalive(tcp: Json | undefined): Message {
  if (!tcp) return {}
  const seconds = (text: string | undefined) => {
    const ms = millis(text)
    return ms === undefined ? undefined : Math.ceil(ms / 1000)
  }
  return {
    upstream_connection_options: {
      tcp_keepalive: {
        ...wrapped('keepalive_probes', tcp.probes),
        ...wrapped('keepalive_time', seconds(tcp.time)),
        ...wrapped('keepalive_interval', seconds(tcp.interval)),
      },
    },
  }
}

/** Retries as a share of the requests under way (networking/v1, RetryBudget: 20 % and 3 unless said). */
function budget(b: Json | undefined): Message {
  if (!b) return {}
  return {
    retry_budget: {
      budget_percent: { value: b.percent ?? 20 },
      min_retry_concurrency: { value: b.minRetryConcurrency || 3 },
      ...duration('budget_interval', b.budgetInterval),
    },
  }
}

function balancing(lb: Json | undefined): Message {
  const hash: Json | undefined = lb?.consistentHash
  if (hash?.maglev)
    return { lb_policy: LbPolicy.maglev, maglev_lb_config: wrapped('table_size', hash.maglev.tableSize) }
  if (hash) {
    const size = hash.ringHash?.minimumRingSize ?? hash.minimumRingSize
    return { lb_policy: LbPolicy.ringHash, ring_hash_lb_config: wrapped('minimum_ring_size', size && Number(size)) }
  }
  const lb_policy = POLICIES[lb?.simple ?? 'LEAST_REQUEST'] ?? LbPolicy.leastRequest
  const window = lb?.warmup?.duration ?? lb?.warmupDurationSecs
  if (!window) return { lb_policy }
  const { aggression, minimumPercent } = lb?.warmup ?? {}
  const slow = {
    slow_start_config: {
      ...duration('slow_start_window', window),
      ...(aggression ? { aggression: { default_value: aggression, runtime_key: '' } } : {}),
      ...(minimumPercent === undefined ? {} : { min_weight_percent: { value: minimumPercent } }),
    },
  }
  return lb_policy === LbPolicy.roundRobin
    ? { lb_policy, round_robin_lb_config: slow }
    : { lb_policy, least_request_lb_config: slow }
}

function outliers(o: Json): Message {
  const gateway = o.consecutiveGatewayErrors ?? o.consecutiveErrors
  const five = o.consecutive5xxErrors
  const threshold = (name: string, enforcing: string, value: number | undefined): Message =>
    value === undefined ? {} : { [name]: { value }, [enforcing]: { value: value > 0 ? 100 : 0 } }
  return {
    outlier_detection: {
      ...threshold('consecutive_5xx', 'enforcing_consecutive_5xx', five),
      ...threshold('consecutive_gateway_failure', 'enforcing_consecutive_gateway_failure', gateway),
      ...duration('interval', o.interval),
      ...duration('base_ejection_time', o.baseEjectionTime),
      ...wrapped('max_ejection_percent', o.maxEjectionPercent),
      enforcing_success_rate: { value: 0 },
      ...(o.splitExternalLocalOriginErrors
        ? {
            split_external_local_origin_errors: true,
            ...wrapped('consecutive_local_origin_failure', o.consecutiveLocalOriginFailures),
          }
        : {}),
    },
  }
}

/** How routes to a destination choose a host by a request; empty when its rule does not hash. */
export function hashPolicies(policy: Json): Message[] {
  const hash: Json | undefined = policy.loadBalancer?.consistentHash
  if (!hash) return []
  if (hash.httpHeaderName) return [{ header: { header_name: hash.httpHeaderName } }]
  if (hash.httpQueryParameterName) return [{ query_parameter: { name: hash.httpQueryParameterName } }]
  if (hash.useSourceIp) return [{ connection_properties: { source_ip: true } }]
  if (!hash.httpCookie) return []
  const { name, path, ttl, attributes } = hash.httpCookie
  return [
    {
      cookie: {
        name,
        ...(path ? { path } : {}),
        ...duration('ttl', ttl),
        ...(attributes?.length ? { attributes } : {}),
      },
    },
  ]
}
