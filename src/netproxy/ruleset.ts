// The service proxy's nftables rules, computed from Services and their endpoints. Pure.
//
// A packet to a Service is looked up in one verdict map (address . protocol . port) and jumps to the
// Service's chain, which picks an endpoint at random from a map. Ports of the host have a map of their own.
// A packet is judged while rules change: maps stay, only elements and chains that differ are touched
// (transaction.ts), and a Service's chain drops what it found no endpoint for, so that a SYN comes again.

import { isIPv4 } from 'node:net'
import type { Json, KubeObject } from '#api'
import { fnv1a } from '#base'
import type { NftSet, Table } from './transaction.ts'

/** A port of a Service with the endpoints that take new connections. */
export interface ServicePort {
  readonly key: string
  readonly clusterIp: string
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly port: number
  /** Addresses besides the cluster's own: spec.externalIPs. */
  readonly externalIps: readonly string[]
  /** Ports on the host's addresses: the node port, and the Service's port when it is a load balancer. */
  readonly hostPorts: readonly number[]
  /** Whether the clients' addresses are kept (externalTrafficPolicy Local). */
  readonly keepSource: boolean
  /** Ranges that may use the load balancer; undefined for all. */
  readonly sourceRanges?: readonly string[]
  /** Seconds a client stays with its endpoint; 0 without affinity. */
  readonly affinity: number
  readonly endpoints: readonly { ip: string; port: number }[]
}

export interface RulesetOptions {
  table: string
  podCidr: string
  serviceCidr: string
  bridge: string
  /** The host's address towards pods, and the ports of the cluster's own parts on it. */
  gatewayIp: string
  ownPorts: readonly number[]
}

const isPort = (n: unknown) => Number.isInteger(n) && (n as number) > 0 && (n as number) < 65536
const PROTOCOLS = ['tcp', 'udp', 'sctp']

/** "10.0.0.0/8", as the kernel's rules may carry it. */
function isRange(text: unknown): boolean {
  const [ip = '', bits = '', more] = String(text).split('/')
  return isIPv4(ip) && /^\d{1,2}$/.test(bits) && Number(bits) <= 32 && more === undefined
}

/** Who may use a load balancer: the IPv4 ranges of those given, undefined when that is everybody. */
function sourceRanges(given: unknown): string[] | undefined {
  if (!Array.isArray(given) || given.length === 0) return undefined
  const ranges = given.map((r) => String(r).trim()).filter(isRange)
  return ranges.some((r) => r.endsWith('/0')) ? undefined : ranges
}

/** Seconds of affinity, within what the API allows. */
function affinitySeconds(spec: Json): number {
  if (spec.sessionAffinity !== 'ClientIP') return 0
  const seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? 10800
  return Number.isInteger(seconds) && seconds > 0 && seconds <= 86400 ? seconds : 10800
}

/**
 * The ports of all Services. Terminating endpoints serve while there is nothing better (KEP-1669). Only
 * what is an IPv4 address, a range or a port gets through: the result is pasted into a script.
 */
export function servicePorts(
  services: readonly KubeObject[],
  slicesOf: (service: KubeObject) => readonly KubeObject[],
): ServicePort[] {
  const result: ServicePort[] = []
  for (const service of services) {
    const { spec } = service
    if (!isIPv4(spec?.clusterIP ?? '') || spec.type === 'ExternalName') continue
    const slices = slicesOf(service)
    const ranges = sourceRanges(spec.loadBalancerSourceRanges)
    for (const port of (spec.ports ?? []) as Json[]) {
      const protocol = String(port.protocol ?? 'TCP').toLowerCase()
      if (!isPort(port.port) || !PROTOCOLS.includes(protocol)) continue
      const ready: { ip: string; port: number }[] = []
      const last: { ip: string; port: number }[] = []
      for (const slice of slices) {
        const number = (slice.ports ?? []).find(
          (p: Json) => (p.name ?? '') === (port.name ?? '') && (p.protocol ?? 'TCP') === (port.protocol ?? 'TCP'),
        )?.port
        if (!isPort(number)) continue
        for (const e of (slice.endpoints ?? []) as Json[]) {
          const ip = e?.addresses?.[0]
          if (!isIPv4(ip ?? '')) continue
          const target = { ip, port: number }
          if (e.conditions?.ready !== false) ready.push(target)
          else if (e.conditions?.serving && e.conditions?.terminating) last.push(target)
        }
      }
      result.push({
        key: `${service.metadata.namespace}/${service.metadata.name}:${port.name ?? port.port}`,
        clusterIp: spec.clusterIP,
        protocol: protocol as 'tcp',
        port: port.port,
        externalIps: ((spec.externalIPs ?? []) as string[]).filter((ip) => isIPv4(ip)),
        hostPorts: [
          ...(isPort(port.nodePort) ? [port.nodePort] : []),
          ...(spec.type === 'LoadBalancer' && !spec.loadBalancerClass ? [port.port] : []),
        ],
        keepSource: spec.externalTrafficPolicy === 'Local',
        ...(spec.type === 'LoadBalancer' && ranges ? { sourceRanges: ranges } : {}),
        affinity: affinitySeconds(spec),
        endpoints: ready.length > 0 ? ready : last,
      })
    }
  }
  return result.sort((a, b) => (a.key < b.key ? -1 : 1))
}

const chainOf = (p: ServicePort) => `svc-${fnv1a(`${p.key}/${p.protocol}/${p.port}`).toString(16).padStart(8, '0')}`

/** The table that serves these ports. */
export function renderRuleset(ports: readonly ServicePort[], options: RulesetOptions): Table {
  const { podCidr, serviceCidr, bridge, gatewayIp, ownPorts } = options
  const chains = new Map<string, readonly string[]>()
  const sets = new Map<string, NftSet>()
  const clusterMap = new Map<string, string>()
  const hostMap = new Map<string, string>()
  // An address belongs to the Service whose own it is, then to the first that names it.
  const claim = (map: Map<string, string>, key: string, chain: string) => {
    if (!map.has(key)) map.set(key, `goto ${chain}`)
  }
  for (const p of ports) claim(clusterMap, `${p.clusterIp} . ${p.protocol} . ${p.port}`, chainOf(p))
  for (const p of ports) {
    const chain = chainOf(p)
    for (const ip of p.externalIps) claim(clusterMap, `${ip} . ${p.protocol} . ${p.port}`, `ext-${chain}`)
    for (const number of p.hostPorts) claim(hostMap, `${p.protocol} . ${number}`, `ext-${chain}`)
    addServiceChains(p, chain, chains, sets)
    if (p.hostPorts.length > 0 || p.externalIps.length > 0) addExternalChains(p, chain, chains)
  }
  const members = (elements: Iterable<string>) => new Map([...elements].map((e) => [e, '']))
  sets.set('service-ips', {
    kind: 'map',
    head: ['type ipv4_addr . inet_proto . inet_service : verdict'],
    elements: clusterMap,
  })
  sets.set('host-ports', { kind: 'map', head: ['type inet_proto . inet_service : verdict'], elements: hostMap })
  sets.set('hairpin', {
    kind: 'set',
    head: ['type ipv4_addr . ipv4_addr'],
    elements: members(ports.flatMap((p) => p.endpoints.map((e) => `${e.ip} . ${e.ip}`))),
  })
  sets.set('cluster-ips', {
    kind: 'set',
    head: ['type ipv4_addr'],
    elements: members(ports.map((p) => p.clusterIp)),
  })
  const own: Record<string, string[]> = {
    services: [
      'ip daddr . meta l4proto . th dport vmap @service-ips',
      // Loopback destinations are served by the program itself, which holds the port.
      'ip daddr 127.0.0.0/8 return',
      'fib daddr type local meta l4proto . th dport vmap @host-ports',
    ],
    // A port that no Service has is refused at once; what no Service took must not leave the machine by its
    // default route.
    unclaimed: [
      'meta mark and 0x8000 == 0x8000 reject with icmp type port-unreachable',
      'ip daddr @cluster-ips reject with icmp type port-unreachable',
      `ip daddr ${serviceCidr} drop`,
    ],
    prerouting: ['type nat hook prerouting priority dstnat; policy accept;', 'jump services'],
    output: ['type nat hook output priority -100; policy accept;', 'jump services'],
    postrouting: [
      'type nat hook postrouting priority srcnat; policy accept;',
      'meta mark and 0x4000 == 0x4000 masquerade',
      // A pod that reaches itself through a Service must see another address than its own.
      'ip saddr . ip daddr @hairpin masquerade',
      `ip saddr ${podCidr} ip daddr != ${podCidr} oifname != "${bridge}" masquerade`,
    ],
    'reject-forward': ['type filter hook forward priority 0; policy accept;', 'jump unclaimed'],
    'reject-output': [
      'type filter hook output priority 0; policy accept;',
      'jump unclaimed',
      // While the server is away nobody answers for names: a query is lost and asked again, it does not fail at once.
      // (The refused packet is UDP to port 53.)
      `ip saddr ${gatewayIp} icmp type destination-unreachable @th,136,8 17 @th,240,16 53 drop`,
    ],
    // The cluster's own ports on the bridge's address are for pods and for this machine.
    input: [
      'type filter hook input priority 0; policy accept;',
      `ip daddr ${gatewayIp} iifname != { "lo", "${bridge}" } tcp dport { ${ownPorts.join(', ')} } drop`,
    ],
  }
  for (const [name, rules] of Object.entries(own)) chains.set(name, rules)
  return { name: options.table, sets, chains }
}

/** The way in from outside the cluster: who may come, and under which address. */
function addExternalChains(p: ServicePort, chain: string, chains: Map<string, readonly string[]>): void {
  const inside = [...(p.keepSource ? [] : ['meta mark set meta mark or 0x4000']), `goto ${chain}`]
  if (!p.sourceRanges) {
    chains.set(`ext-${chain}`, inside)
    return
  }
  chains.set(`in-${chain}`, inside)
  chains.set(`ext-${chain}`, [...p.sourceRanges.map((range) => `ip saddr ${range} goto in-${chain}`), 'drop'])
}

/** A Service's chain; what leaves it without an endpoint is marked for refusal, or dropped if there are some. */
function addServiceChains(
  p: ServicePort,
  chain: string,
  chains: Map<string, readonly string[]>,
  sets: Map<string, NftSet>,
): void {
  const { endpoints, protocol } = p
  if (endpoints.length === 0) {
    chains.set(chain, ['meta mark set meta mark or 0x8000'])
    return
  }
  if (!p.affinity) {
    const targets = endpoints.map((e, i) => `${i} : ${e.ip} . ${e.port}`).join(', ')
    const pick =
      endpoints.length === 1
        ? `dnat ip to ${endpoints[0]!.ip}:${endpoints[0]!.port}`
        : `dnat ip to numgen random mod ${endpoints.length} map { ${targets} }`
    chains.set(chain, [`meta l4proto ${protocol} ${pick}`, 'drop'])
    return
  }
  // One set of clients an endpoint: who is in it goes there again. A set's timeout cannot be changed: it is part
  // of the name.
  const ways = endpoints.map((e) => {
    const id = `${chain.slice(4)}-${e.ip.replaceAll('.', '-')}-${e.port}`
    return { e, set: `aff-${id}-${p.affinity}`, chain: `to-${id}-${p.affinity}` }
  })
  for (const way of ways) {
    const head = ['type ipv4_addr', 'size 65535', 'flags dynamic, timeout', `timeout ${p.affinity}s`]
    sets.set(way.set, { kind: 'set', head, elements: new Map() })
    chains.set(way.chain, [
      `update @${way.set} { ip saddr }`,
      `meta l4proto ${protocol} dnat ip to ${way.e.ip}:${way.e.port}`,
      'drop',
    ])
  }
  chains.set(chain, [
    ...ways.map((way) => `ip saddr @${way.set} goto ${way.chain}`),
    `numgen random mod ${ways.length} vmap { ${ways.map((way, i) => `${i} : goto ${way.chain}`).join(', ')} }`,
    'drop',
  ])
}
