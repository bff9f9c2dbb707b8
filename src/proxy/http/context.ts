// What exchanges and connections share: configuration, clusters, pools, counters.

import type { ConfigStore } from '../config/config-store.ts'
import type { PeerMetadata } from '../telemetry/peer-metadata.ts'
import type { Stats } from '../telemetry/stats.ts'
import type { Connector } from '../upstream/connector.ts'
import type { H1Pool } from '../upstream/h1-pool.ts'
import type { H2Pool } from '../upstream/h2-pool.ts'

export interface ProxyContext {
  readonly config: ConfigStore
  readonly stats: Stats
  readonly connector: Connector
  readonly h1: H1Pool
  readonly h2: H2Pool
  readonly peers: PeerMetadata
  readonly random: () => number
  /** The proxy ends: connections are closed after their answers. */
  draining: boolean
}
