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

/** What EnvoyFilters change for a proxy. */
export interface FilterPatches {
  /** Filters before the router of a listener's HTTP. */
  httpFilters(context: PatchContext, port: number): readonly Message[]
  /** A route configuration with what is merged into its virtual hosts and routes. */
  routes(context: PatchContext, table: Message): Message
}

const NOTHING: FilterPatches = { httpFilters: () => [], routes: (_, table) => table }

const RATE_LIMITS = [
  'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit',
  'envoy.extensions.filters.http.ratelimit.v3.RateLimit',
]
const HTTP_FILTER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter'
const VIRTUAL_HOST = 'envoy.config.route.v3.VirtualHost'
const ROUTE = 'envoy.config.route.v3.Route'
const INSERTS = ['INSERT_BEFORE', 'INSERT_FIRST', 'INSERT_AFTER', 'ADD']
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
    if (applyTo === 'VIRTUAL_HOST' || applyTo === 'HTTP_ROUTE') {
      if (operation !== 'MERGE') return `${applyTo} with operation ${operation} is not supported; MERGE is`
      const other = Object.keys(value ?? {}).find((key) => !MERGED.includes(key))
      if (other) return `merging ${other} into a ${applyTo} is not supported; rate limits are`
      fromJson(applyTo === 'HTTP_ROUTE' ? ROUTE : VIRTUAL_HOST, value ?? {})
      return undefined
    }
    return `applyTo ${applyTo} is not supported; HTTP_FILTER, VIRTUAL_HOST and HTTP_ROUTE are, for rate limits`
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
  return {
    httpFilters: (context, port) =>
      patches
        .filter((p) => p.applyTo === 'HTTP_FILTER' && inContext(p, context))
        .filter((p) => !p.match?.listener?.portNumber || p.match.listener.portNumber === port)
        .map((p) => fromJson(HTTP_FILTER, p.patch.value)),
    routes: (context, table) => {
      const here = patches.filter((p) => p.applyTo !== 'HTTP_FILTER' && inContext(p, context) && isFor(p, table))
      return here.reduce(patched, table)
    },
  }
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
