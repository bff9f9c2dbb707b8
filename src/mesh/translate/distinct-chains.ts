// Filter chains of one listener, no two of which take the same connections. Pure (config.listener.v3, FilterChainMatch).

import type { Message } from '#wire'

/** The criteria that list alternatives. */
const LISTS = ['server_names', 'prefix_ranges', 'source_prefix_ranges', 'application_protocols'] as const

/**
 * The chains, the first of those that would take the same connection being the one that does: an Envoy refuses a
 * listener whose chains overlap. A chain that overlaps in part keeps what is left of it.
 */
export function distinctChains(chains: readonly Message[]): Message[] {
  const taken = new Set<string>()
  return chains.flatMap((chain) => {
    const cases = alternatives(chain.filter_chain_match ?? {})
    const free = cases.filter((c) => !taken.has(JSON.stringify(c)))
    for (const c of free) taken.add(JSON.stringify(c))
    if (free.length === cases.length) return [chain]
    return free.map((c) => ({ ...chain, filter_chain_match: c }))
  })
}

/** Matches of one alternative each that together are a match. */
function alternatives(match: Message): Message[] {
  let cases: Message[] = [match]
  for (const list of LISTS)
    if (match[list]?.length > 0)
      cases = cases.flatMap((c) => (match[list] as unknown[]).map((one) => ({ ...c, [list]: [one] })))
  return cases
}
