// The data plane put together: configuration in, connections served.

import { ConfigStore } from './config/config-store.ts'
import type { ProxyContext } from './http/context.ts'
import type { LineSink } from './telemetry/access-log.ts'
import type { LocalWorkload } from './telemetry/peer.ts'
import { PeerMetadata } from './telemetry/peer-metadata.ts'
import { Stats } from './telemetry/stats.ts'
import { Connector } from './upstream/connector.ts'
import { H1Pool } from './upstream/h1-pool.ts'
import { H2Pool } from './upstream/h2-pool.ts'

export interface ProxyOptions {
  readonly local: LocalWorkload
  readonly nodeId: string
  readonly hostname?: string
  readonly random?: () => number
  /** Takes the lines of access logs. */
  readonly logLine?: LineSink
}

export interface Proxy {
  readonly context: ProxyContext
  readonly logLine: LineSink
}

/** A data plane that knows nothing yet. */
export function createProxy({
  local,
  nodeId,
  hostname = '',
  random = Math.random,
  logLine = () => {},
}: ProxyOptions): Proxy {
  const config = new ConfigStore()
  const connector = new Connector(config)
  const context: ProxyContext = {
    config,
    stats: new Stats(local, hostname),
    connector,
    h1: new H1Pool(connector),
    h2: new H2Pool(connector),
    peers: new PeerMetadata(local, nodeId),
    random,
    draining: false,
  }
  return { context, logLine }
}
