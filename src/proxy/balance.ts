// Load balancing: which endpoint of a cluster. Pure but for the cluster's own counters.

import type { Cluster, Endpoint } from './model.ts'

/** Picks an endpoint, avoiding `except` when there is another. */
export function pickEndpoint(
  cluster: Cluster,
  endpoints: readonly Endpoint[],
  random: () => number,
  except?: Endpoint,
): Endpoint | undefined {
  const { length } = endpoints
  if (length === 0) return undefined
  if (length === 1) return endpoints[0]
  const first = choose(cluster, endpoints, random)
  if (first !== except) return first
  return endpoints[(endpoints.indexOf(first) + 1) % length]
}

function choose(cluster: Cluster, endpoints: readonly Endpoint[], random: () => number): Endpoint {
  const { length } = endpoints
  switch (cluster.policy) {
    case 'random':
      return endpoints[Math.floor(random() * length)]!
    case 'roundRobin':
      cluster.turn = (cluster.turn + 1) % length
      return endpoints[cluster.turn]!
    case 'leastRequest': {
      // The better of two chosen at random, as Envoy does.
      const a = endpoints[Math.floor(random() * length)]!
      const b = endpoints[Math.floor(random() * length)]!
      return a.active <= b.active ? a : b
    }
  }
}
