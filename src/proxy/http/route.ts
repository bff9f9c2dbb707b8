// Routing: which virtual host, which route, which cluster. Pure. Hot path; bench/proxy measures it.

import type { Route, RouteTable, VirtualHost, WeightedCluster } from '../config/model.ts'
import { type HttpRequest, isGrpc, pathOf, queryParameter, requestField, requestFits } from './request.ts'

/** The host for a name: itself, then the longest "*.suffix", then the longest "prefix.*", then "*". */
export function findHost(table: RouteTable, authority: string): VirtualHost | undefined {
  const name = hostName(authority, table.ignorePort)
  const exact = table.exact.get(name)
  if (exact) return exact
  for (const { suffix, host } of table.suffixes) if (name.endsWith(suffix) && name.length > suffix.length) return host
  for (const { prefix, host } of table.prefixes) if (name.startsWith(prefix) && name.length > prefix.length) return host
  return table.any
}

function hostName(authority: string, withoutPort: boolean): string {
  const name = /[A-Z]/.test(authority) ? authority.toLowerCase() : authority
  if (!withoutPort) return name
  const colon = name.lastIndexOf(':')
  return colon > name.lastIndexOf(']') ? name.slice(0, colon) : name
}

/** The first route of a host that matches. `random` gives numbers in [0, 1). */
export function findRoute(host: VirtualHost, request: HttpRequest, random: () => number): Route | undefined {
  const path = pathOf(request.path)
  next: for (const route of host.routes) {
    if (route.connect !== (request.method === 'CONNECT') || !route.path.test(path)) continue
    if (route.grpc && !isGrpc(request.fields)) continue
    for (const h of route.headers) if (!requestFits(h, request)) continue next
    if (route.query.length > 0 && !queryFits(route, request.path)) continue
    if (route.fraction < 1 && random() >= route.fraction) continue
    return route
  }
  return undefined
}

function queryFits(route: Route, target: string): boolean {
  return route.query.every(({ name, match }) => {
    const value = queryParameter(target, name)
    return value !== undefined && (match === undefined || match.test(value))
  })
}

/** The cluster of a route by weight. `random` is in [0, 1). */
export function pickCluster<T extends { readonly weight: number }>(
  clusters: readonly T[],
  total: number,
  random: number,
): T | undefined {
  if (clusters.length === 1) return clusters[0]
  let point = random * total
  for (const c of clusters) {
    point -= c.weight
    if (point < 0) return c
  }
  return clusters[clusters.length - 1]
}

/** The cluster that a request goes to. */
export function clusterOf(route: Route, request: HttpRequest, random: number): WeightedCluster | undefined {
  if (route.clusterField) {
    const name = requestField(request, route.clusterField)
    return name === undefined ? undefined : { name, weight: 1 }
  }
  return pickCluster(route.clusters, route.totalWeight, random)
}
