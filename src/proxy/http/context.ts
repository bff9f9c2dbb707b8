// What exchanges and connections share: configuration, clusters, pools, counters.

import type { ConfigStore } from '../config/config-store.ts'
import type { Cluster } from '../config/model.ts'
import type { PeerMetadata } from '../telemetry/peer-metadata.ts'
import type { Stats } from '../telemetry/stats.ts'
import type { Connector } from '../upstream/connector.ts'
import type { H1Pool } from '../upstream/h1-pool.ts'
import type { H2Pool } from '../upstream/h2-pool.ts'
import type { HttpRequest } from './request.ts'

/** The pool for a request to a cluster: what is to become another protocol goes by HTTP/1.1. */
export function poolFor({ h1, h2 }: ProxyContext, { protocol }: Cluster, request: HttpRequest): H1Pool | H2Pool {
  const http2 = protocol === 'http2' || (protocol === 'downstream' && request.protocol === 'HTTP/2')
  return http2 && !request.upgrade ? h2 : h1
}

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
