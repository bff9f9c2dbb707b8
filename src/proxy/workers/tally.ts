// What a worker has counted, and what several have counted together. Pure, but for `tallyOf` and `showTally`.

import type { ProxyContext } from '../http/context.ts'
import { addByName, addNumbers, addStats, type StatsTally, total } from '../telemetry/stats-tally.ts'
import type { ClusterState } from '../upstream/cluster-state.ts'
import type { Host } from '../upstream/host.ts'

interface HostTally {
  readonly key: string
  connections: number
  active: number
  checked: boolean
  ejected: boolean
  readonly stats: Record<string, number>
}

interface ClusterTally {
  readonly name: string
  connections: number
  pending: number
  requests: number
  retries: number
  readonly stats: Record<string, number>
  readonly hosts: readonly HostTally[]
}

/** Everything the admin interface and the metrics show of a data path. Survives structured cloning. */
export interface Tally {
  readonly stats: StatsTally
  readonly clusters: readonly ClusterTally[]
}

const hostTally = ({ key, connections, active, checked, ejected, stats }: Host): HostTally => ({
  key,
  connections,
  active,
  checked,
  ejected,
  stats: { ...stats },
})

const clusterTally = (name: string, c: ClusterState): ClusterTally => ({
  name,
  connections: c.connections,
  pending: c.pending,
  requests: c.requests,
  retries: c.retries,
  stats: { ...c.stats },
  hosts: [...c.hosts.values()].map(hostTally),
})

/** What a data path has counted until now. */
export const tallyOf = ({ config, stats }: ProxyContext): Tally => ({
  stats: stats.tally(),
  clusters: [...config.clusters].map(([name, cluster]) => clusterTally(name, cluster)),
})

const addHosts = (all: readonly HostTally[]): HostTally => ({
  key: all[0]!.key,
  connections: total(all, (h) => h.connections),
  active: total(all, (h) => h.active),
  checked: all.every((h) => h.checked),
  ejected: all.some((h) => h.ejected),
  stats: addNumbers(all.map((h) => h.stats)),
})

const addClusters = (all: readonly ClusterTally[]): ClusterTally => ({
  name: all[0]!.name,
  connections: total(all, (c) => c.connections),
  pending: total(all, (c) => c.pending),
  requests: total(all, (c) => c.requests),
  retries: total(all, (c) => c.retries),
  stats: addNumbers(all.map((c) => c.stats)),
  hosts: addByName(
    all.flatMap((c) => c.hosts),
    (h) => h.key,
    addHosts,
  ),
})

/** What several have counted. */
export const addTallies = (all: readonly Tally[]): Tally => ({
  stats: addStats(all.map((t) => t.stats)),
  clusters: addByName(
    all.flatMap((t) => t.clusters),
    (c) => c.name,
    addClusters,
  ),
})

/** What stays of the count of a worker that is gone: nothing of it is under way any more. */
export const departed = ({ stats, clusters }: Tally): Tally => ({
  stats: {
    ...stats,
    counters: { ...stats.counters, downstreamActive: 0, downstreamRequestsActive: 0, inboundRequestsActive: 0 },
  },
  clusters: clusters.map((c) => ({
    ...c,
    connections: 0,
    pending: 0,
    requests: 0,
    retries: 0,
    hosts: c.hosts.map((h) => ({ ...h, connections: 0, active: 0, checked: true, ejected: false })),
  })),
})

/** Shows a count as if it were that of a context which serves nothing itself. */
export function showTally({ stats, clusters }: Tally, context: ProxyContext): void {
  context.stats.show(stats)
  for (const { name, hosts, stats: counted, ...underWay } of clusters) {
    const cluster = context.config.clusters.get(name)
    if (!cluster) continue
    Object.assign(cluster, underWay)
    Object.assign(cluster.stats, counted)
    for (const { key, stats: own, ...state } of hosts) {
      const at = key.lastIndexOf(':')
      const known = cluster.hosts.get(key)
      const passed = cluster.config.type === 'originalDst'
      const host = known ?? (passed ? cluster.passthrough(key.slice(0, at), Number(key.slice(at + 1))) : undefined)
      if (!host) continue
      Object.assign(host, state)
      Object.assign(host.stats, own)
    }
  }
}
