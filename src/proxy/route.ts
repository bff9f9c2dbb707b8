// Routing: which virtual host, which route, which cluster. Pure. Hot path; bench/proxy measures it.

import type { Route, RouteTable, VirtualHost } from './model.ts'

/** What routing looks at. Header names are lower case; pseudo-headers go by ":method" and the like. */
export interface RoutedRequest {
  readonly authority: string
  readonly path: string
  readonly method: string
  readonly scheme: string
  header(name: string): string | undefined
}

export function findHost(table: RouteTable, authority: string): VirtualHost | undefined {
  const name = authority.toLowerCase()
  const exact = table.exact.get(name)
  if (exact) return exact
  for (const { suffix, host } of table.suffixes) if (name.endsWith(suffix) && name.length > suffix.length) return host
  return table.any
}

function headerValue(request: RoutedRequest, name: string): string | undefined {
  switch (name) {
    case ':method':
      return request.method
    case ':authority':
      return request.authority
    case ':path':
      return request.path
    case ':scheme':
      return request.scheme
    default:
      return request.header(name)
  }
}

/** The first route of a host that matches. */
export function findRoute(host: VirtualHost, request: RoutedRequest): Route | undefined {
  const mark = request.path.search(/[?#]/)
  const path = mark < 0 ? request.path : request.path.slice(0, mark)
  next: for (const route of host.routes) {
    if (!route.path.test(path)) continue
    for (const h of route.headers) {
      const value = headerValue(request, h.name)
      const matches = value !== undefined && (h.match === undefined || h.match.test(value))
      if (matches === h.invert) continue next
    }
    return route
  }
  return undefined
}

/** The cluster of a route by weight. `random` is in [0, 1). */
export function pickCluster(route: Route, random: number): string {
  if (route.clusters.length === 1) return route.clusters[0]!.name
  let point = random * route.totalWeight
  for (const c of route.clusters) {
    point -= c.weight
    if (point < 0) return c.name
  }
  return route.clusters[route.clusters.length - 1]?.name ?? ''
}
