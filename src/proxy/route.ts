// Routing: which virtual host, which route, which cluster. Pure. Hot path; bench/proxy measures it.

import type { Route, RouteTable, VirtualHost, WeightedCluster } from './model.ts'

/** What routing looks at. Header names are lower case; pseudo-headers go by ":method" and the like. */
export interface RoutedRequest {
  readonly authority: string
  readonly path: string
  readonly method: string
  readonly scheme: string
  header(name: string): string | undefined
}

export function findHost(table: RouteTable, authority: string): VirtualHost | undefined {
  const name = table.ignorePort ? authority.toLowerCase().replace(/:\d+$/, '') : authority.toLowerCase()
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
    if (route.query.length > 0 && !queryMatches(route, request.path.slice(path.length))) continue
    return route
  }
  return undefined
}

function queryMatches(route: Route, query: string): boolean {
  const parameters = new URLSearchParams(query.startsWith('?') ? query.slice(1) : '')
  return route.query.every(({ name, match }) => {
    const value = parameters.get(name)
    return value !== null && (match === undefined || match.test(value))
  })
}

/** The cluster of a route by weight. `random` is in [0, 1). */
export function pickCluster(route: Route, random: number): WeightedCluster | undefined {
  if (route.clusters.length === 1) return route.clusters[0]
  let point = random * route.totalWeight
  for (const c of route.clusters) {
    point -= c.weight
    if (point < 0) return c
  }
  return route.clusters[route.clusters.length - 1]
}
