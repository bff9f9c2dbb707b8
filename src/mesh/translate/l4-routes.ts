// Routes of bytes: the tcp and tls parts of VirtualServices. Pure (networking/v1, TCPRoute and TLSRoute).

import type { Json } from '#api'
import type { Message } from '#wire'
import { covers, resolveHost } from '../model/host.ts'
import type { VirtualService } from '../model/virtual-service.ts'
import { type TcpTarget, tcpChain } from './chains.ts'
import { serviceOf } from './place.ts'
import { applies, clusterOf, type RouteScope } from './routes.ts'

/** A chain of bytes that a rule asks for. */
export interface ByteRoute {
  /** Ranges of destinations, for those that are told apart by address. */
  readonly subnets: readonly string[]
  /** Names asked for in TLS; empty for any, or without TLS. */
  readonly serverNames: readonly string[]
  readonly sources: readonly string[]
  readonly chain: Message
}

function targets(route: Json, scope: RouteScope, namespace: string): TcpTarget[] {
  const routes: Json[] = route.route ?? []
  return routes
    .map((r) => ({
      cluster: clusterOf(r.destination, scope, namespace),
      weight: routes.length === 1 ? 1 : (r.weight ?? 0),
    }))
    .filter((t) => t.weight > 0)
}

function chainOf(route: Json, scope: RouteScope, rule: VirtualService): Message | undefined {
  const to = targets(route, scope, rule.namespace)
  if (to.length === 0) return undefined
  const first: Json = route.route[0].destination
  const service = serviceOf(scope.place, resolveHost(first.host, rule.namespace))
  const policy = service ? scope.place.policy(service, first.subset ?? '', first.port?.number ?? scope.port) : {}
  return tcpChain(scope.place.snapshot.view.mesh, to, policy)
}

/** The chains of a rule's tcp part that apply in a place, in order. */
export function tcpRoutes(scope: RouteScope, rule: VirtualService): ByteRoute[] {
  const found: ByteRoute[] = []
  for (const route of rule.tcp) {
    const chain = chainOf(route, scope, rule)
    if (!chain) continue
    const conditions: Json[] = route.match?.length ? route.match : [{}]
    for (const match of conditions) {
      if (!applies(match, scope, rule.namespace)) continue
      const route = {
        subnets: match.destinationSubnets ?? [],
        serverNames: [],
        sources: match.sourceSubnet ? [match.sourceSubnet] : [],
        chain,
      }
      found.push(route)
      if (route.subnets.length === 0 && route.sources.length === 0) return found
    }
  }
  return found
}

/** The chains of a rule's tls part for names that `hosts` cover. */
export function tlsRoutes(scope: RouteScope, rule: VirtualService, hosts: readonly string[]): ByteRoute[] {
  const found: ByteRoute[] = []
  const taken = new Set<string>()
  for (const route of rule.tls) {
    const chain = chainOf(route, scope, rule)
    if (!chain) continue
    for (const match of (route.match ?? []) as Json[]) {
      if (!applies(match, scope, rule.namespace)) continue
      const names = ((match.sniHosts ?? []) as string[])
        .map((n) => n.toLowerCase())
        .filter((n) => hosts.some((h) => covers(h, n)) && !taken.has(`${n} ${match.destinationSubnets ?? ''}`))
      for (const n of names) taken.add(`${n} ${match.destinationSubnets ?? ''}`)
      if (names.length > 0)
        found.push({ subnets: match.destinationSubnets ?? [], serverNames: names, sources: [], chain })
    }
  }
  return found
}

/** Ranges as a chain match writes them. */
export function ranges(texts: readonly string[]): Message[] {
  return texts.map((text) => {
    const [address = '', length = address.includes(':') ? '128' : '32'] = text.split('/')
    return { address_prefix: address, prefix_len: { value: Number(length) } }
  })
}

/** The criteria of a chain; "*" among names is every name. */
export function chainMatch(route: Omit<ByteRoute, 'chain'>, more: Message = {}): Message {
  const named = route.serverNames.length > 0 && !route.serverNames.includes('*')
  const match: Message = {
    ...(named ? { server_names: [...route.serverNames] } : {}),
    ...(route.subnets.length > 0 ? { prefix_ranges: ranges(route.subnets) } : {}),
    ...(route.sources.length > 0 ? { source_prefix_ranges: ranges(route.sources) } : {}),
    ...more,
  }
  return Object.keys(match).length > 0 ? { filter_chain_match: match } : {}
}
