// Which chain of a listener a connection goes to. Pure (listener_components.proto, FilterChainMatch).

import { inRange, ipv4 } from '../config/address-range.ts'
import type { ChainMatch, FilterChain, Listener } from '../config/model.ts'

/** What is known of a connection. */
export interface ConnectionFacts {
  /** Where it was on its way to. */
  readonly host: string
  readonly port: number
  readonly client: string
  readonly clientPort: number
  /** "" without TLS or without a name. */
  readonly serverName: string
  readonly transport: 'tls' | 'raw_buffer'
  /** Protocols the client offers in TLS, or those its first bytes are of. */
  readonly alpn: readonly string[]
}

/** How well a criterion fits: the higher the narrower; -1 when it does not. */
type Criterion = (match: ChainMatch, facts: ConnectionFacts) => number

/** In the order in which Envoy narrows chains down; what fits best in one is looked at in the next. */
const CRITERIA: readonly Criterion[] = [
  ({ port }, facts) => (port === 0 ? 0 : port === facts.port ? 1 : -1),
  ({ destinations }, facts) => rangeFit(destinations, facts.host),
  ({ serverNames }, { serverName }) => {
    if (serverNames.length === 0) return 0
    return Math.max(
      ...serverNames.map((n) =>
        n === serverName ? 10_000 : n.startsWith('*.') && serverName.endsWith(n.slice(1)) ? n.length : -1,
      ),
    )
  },
  ({ transport }, facts) => (transport === '' ? 0 : transport === facts.transport ? 1 : -1),
  ({ alpn }, facts) => (alpn.length === 0 ? 0 : alpn.some((a) => facts.alpn.includes(a)) ? 1 : -1),
  ({ sources }, facts) => rangeFit(sources, facts.client),
  ({ sourcePorts }, facts) => (sourcePorts.length === 0 ? 0 : sourcePorts.includes(facts.clientPort) ? 1 : -1),
]

function rangeFit(ranges: ChainMatch['destinations'], address: string): number {
  if (ranges.length === 0) return 0
  const own = ipv4(address)
  if (own === undefined) return -1
  return Math.max(...ranges.map((r) => (inRange(own, r) ? r.bits + 1 : -1)))
}

/** The chain that fits best, or the listener's fallback. */
export function chooseChain(listener: Listener, facts: ConnectionFacts): FilterChain | undefined {
  let left = listener.chains
  for (const fits of CRITERIA) {
    const ranks = left.map((chain) => fits(chain.match, facts))
    const best = Math.max(-1, ...ranks)
    if (best < 0) return listener.fallback
    left = left.filter((_, i) => ranks[i] === best)
  }
  return left[0] ?? listener.fallback
}

/** Whether what a connection's first bytes say may change the choice. */
export function needsFirstBytes(listener: Listener, facts: ConnectionFacts): { tls: boolean; http: boolean } {
  // Port and address are known: only chains that fit them matter.
  const left = listener.chains.filter((c) => CRITERIA[0]!(c.match, facts) >= 0 && CRITERIA[1]!(c.match, facts) >= 0)
  const narrow = left.some((c) => c.match.port !== 0) ? left.filter((c) => c.match.port !== 0) : left
  return {
    tls:
      listener.inspectTls &&
      narrow.some((c) => c.match.transport !== '' || c.match.serverNames.length > 0 || c.tls !== undefined),
    http: listener.inspectHttp && narrow.some((c) => c.match.alpn.length > 0),
  }
}
