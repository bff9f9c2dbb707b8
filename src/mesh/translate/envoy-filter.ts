// EnvoyFilters as Istio's samples use them: local and global rate limits. Any other use is refused by name. Pure.

import type { Json, KubeObject } from '#api'
import { fromJson } from '#api/xds'
import { messageOf } from '#base'
import type { Message } from '#wire'
import { GATEWAY_NAME } from '../model/gateway-labels.ts'
import type { Snapshot } from '../model/snapshot.ts'
import { byAge, matches, type ProxyNode } from '../model/view.ts'

/** Which of a proxy's resources a patch is for. */
export type PatchContext = 'SIDECAR_INBOUND' | 'SIDECAR_OUTBOUND' | 'GATEWAY'

/** Filters of HTTP, the router last, with others put among them. */
export type FilterInserts = (filters: readonly Message[]) => readonly Message[]

/** What EnvoyFilters change for a proxy. */
export interface FilterPatches {
  /** Clusters a proxy has besides: that of a rate limit service. */
  readonly clusters: readonly Message[]
  /** What is put among the filters of a listener's HTTP, where the patches say. */
  httpFilters(context: PatchContext, port: number): FilterInserts
  /** A route configuration with what is merged into its virtual hosts and routes. */
  routes(context: PatchContext, table: Message): Message
}

const NOTHING: FilterPatches = { clusters: [], httpFilters: () => (filters) => filters, routes: (_, table) => table }

const RATE_LIMITS = [
  'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit',
  'envoy.extensions.filters.http.ratelimit.v3.RateLimit',
]
const HTTP_FILTER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter'
const VIRTUAL_HOST = 'envoy.config.route.v3.VirtualHost'
const ROUTE = 'envoy.config.route.v3.Route'
const CLUSTER = 'envoy.config.cluster.v3.Cluster'
/** Clusters that say themselves where they are. */
const SELF_CONTAINED = ['STATIC', 'STRICT_DNS', 'LOGICAL_DNS']
const INSERTS = ['INSERT_BEFORE', 'INSERT_FIRST', 'INSERT_AFTER', 'ADD']
/** What patches of route configurations are for. */
const ROUTED = ['VIRTUAL_HOST', 'HTTP_ROUTE']
/** What of a virtual host or a route may be merged. */
const MERGED = ['rate_limits', 'typed_per_filter_config', 'route']

/** Why a patch is not done; undefined when it is. */
export function refusal(patch: Json): string | undefined {
  const { applyTo } = patch
  const { operation, value } = patch.patch ?? {}
  try {
    if (applyTo === 'HTTP_FILTER') {
      if (!INSERTS.includes(operation))
        return `HTTP_FILTER with operation ${operation} is not supported; INSERT_BEFORE is`
      const url = typeOf(value?.typed_config)
      if (!RATE_LIMITS.includes(url))
        return `the filter ${value?.name ?? url} is not supported; local and global rate limits are`
      fromJson(HTTP_FILTER, value)
      return undefined
    }
    if (ROUTED.includes(applyTo)) {
      if (operation !== 'MERGE') return `${applyTo} with operation ${operation} is not supported; MERGE is`
      const other = Object.keys(value ?? {}).find((key) => !MERGED.includes(key))
      if (other) return `merging ${other} into a ${applyTo} is not supported; rate limits are`
      fromJson(applyTo === 'HTTP_ROUTE' ? ROUTE : VIRTUAL_HOST, value ?? {})
      return undefined
    }
    if (applyTo === 'CLUSTER') {
      if (operation !== 'ADD') return `CLUSTER with operation ${operation} is not supported; ADD is`
      if (!value?.name) return 'a CLUSTER to be added has no name'
      if (!SELF_CONTAINED.includes(value.type ?? 'STATIC'))
        return `the cluster ${value.name} is of type ${value.type}; ${SELF_CONTAINED.join(', ')} are supported`
      if (!value.load_assignment?.endpoints?.length) return `the cluster ${value.name} has no load_assignment`
      fromJson(CLUSTER, value)
      return undefined
    }
    return `applyTo ${applyTo} is not supported; HTTP_FILTER, CLUSTER, VIRTUAL_HOST and HTTP_ROUTE are, for rate limits`
  } catch (error) {
    return messageOf(error)
  }
}

function typeOf(config: Json | undefined): string {
  const url = String(config?.['@type'] ?? '')
  return (/\.TypedStruct$/.test(url) ? String(config?.type_url ?? '') : url).replace('type.googleapis.com/', '')
}

/** What the EnvoyFilters of a proxy's namespace and of the root namespace change for it. */
export function filterPatches(snapshot: Snapshot, node: ProxyNode): FilterPatches {
  const { envoyFilters, mesh } = snapshot.view
  const mine = [...envoyFilters]
    .filter((f) => [node.namespace, mesh.rootNamespace].includes(f.metadata.namespace ?? ''))
    .filter((f) => matches(f.spec?.workloadSelector?.labels, node.labels) && isTarget(f.spec?.targetRefs, node))
    .sort((a, b) => rank(a, mesh.rootNamespace) - rank(b, mesh.rootNamespace) || byAge(a, b))
  const patches = mine.flatMap((f) => (f.spec?.configPatches ?? []) as Json[]).filter((p) => refusal(p) === undefined)
  if (patches.length === 0) return NOTHING
  const inContext = (p: Json, context: PatchContext) => [context, 'ANY', undefined].includes(p.match?.context)
  const contexts: PatchContext[] = node.role === 'router' ? ['GATEWAY'] : ['SIDECAR_OUTBOUND', 'SIDECAR_INBOUND']
  return {
    clusters: patches
      .filter((p) => p.applyTo === 'CLUSTER' && contexts.some((c) => inContext(p, c)))
      .map((p) => fromJson(CLUSTER, p.patch.value)),
    httpFilters: (context, port) => {
      const here = patches
        .filter((p) => p.applyTo === 'HTTP_FILTER' && inContext(p, context))
        .filter((p) => !p.match?.listener?.portNumber || p.match.listener.portNumber === port)
      return (filters) => here.reduce(inserted, filters)
    },
    routes: (context, table) => {
      const here = patches.filter((p) => ROUTED.includes(p.applyTo) && inContext(p, context) && isFor(p, table))
      return here.reduce(patched, table)
    },
  }
}

/**
 * Filters with that of one more patch: beside the filter it names or, without a name, at the beginning or at the
 * end. The router stays last, and beside a filter that only Istio's own proxies have is before the router.
 */
function inserted(filters: readonly Message[], patch: Json): readonly Message[] {
  const { operation } = patch.patch
  const filter = fromJson(HTTP_FILTER, patch.patch.value)
  const beside: string | undefined = patch.match?.listener?.filterChain?.filter?.subFilter?.name
  const found = filters.findIndex(
    (f) => f.name === beside || f.name === beside?.replace('envoy.', 'envoy.filters.http.'),
  )
  const last = filters.length - 1
  const before = operation === 'INSERT_FIRST' || (operation === 'INSERT_BEFORE' && !beside)
  const at = before ? 0 : operation === 'ADD' || found < 0 ? last : operation === 'INSERT_AFTER' ? found + 1 : found
  return filters.toSpliced(Math.min(at, last), 0, filter)
}

/** Whether references name what a proxy is: a Gateway of the Gateway API. Without any, every proxy is meant. */
function isTarget(refs: readonly Json[] | undefined, node: ProxyNode): boolean {
  if (!refs?.length) return true
  const own = node.labels[GATEWAY_NAME]
  return refs.some((r) => r.kind === 'Gateway' && r.group === 'gateway.networking.k8s.io' && r.name === own)
}

/** What is for the whole mesh comes first, then by priority. */
const rank = (f: KubeObject, root: string) => (f.spec?.priority ?? 0) * 2 + (f.metadata.namespace === root ? 0 : 1)

function isFor(patch: Json, table: Message): boolean {
  const { name, portNumber } = patch.match?.routeConfiguration ?? {}
  if (name && name !== table.name) return false
  if (!portNumber) return true
  return ((table.virtual_hosts ?? []) as Message[]).some(
    (h) => String(h.name).endsWith(`:${portNumber}`) || String(h.name).endsWith(`|${portNumber}`),
  )
}

function patched(table: Message, patch: Json): Message {
  const { name, route } = patch.match?.routeConfiguration?.vhost ?? {}
  const value = fromJson(patch.applyTo === 'HTTP_ROUTE' ? ROUTE : VIRTUAL_HOST, patch.patch.value ?? {})
  const hosts = ((table.virtual_hosts ?? []) as Message[]).map((host) => {
    if (name && host.name !== name) return host
    if (patch.applyTo === 'VIRTUAL_HOST') return merged(host, value)
    const routes = ((host.routes ?? []) as Message[]).map((r) => (fits(r, route) ? merged(r, value) : r))
    return { ...host, routes }
  })
  return { ...table, virtual_hosts: hosts }
}

function fits(route: Message, match: Json | undefined): boolean {
  if (match?.name && match.name !== route.name) return false
  const action = match?.action ?? 'ANY'
  if (action === 'ANY') return true
  return action === 'ROUTE' ? route.route : action === 'REDIRECT' ? route.redirect : route.direct_response
}

/** Protobuf's merge: lists are joined, maps and messages go field by field. */
function merged(into: Message, from: Message): Message {
  const result: Message = { ...into }
  for (const [key, value] of Object.entries(from)) {
    const before = result[key]
    if (Array.isArray(before)) result[key] = [...before, ...(value as unknown[])]
    else if (before && typeof before === 'object' && !(before instanceof Uint8Array))
      result[key] = merged(before, value)
    else result[key] = value
  }
  return result
}
