// The configuration in force: what xDS has delivered, looked up by the data path.

import type { Cluster, Endpoint, HttpChain, Listener, RouteTable, TlsSecret } from './model.ts'

/** Everything the data path reads. Replaced type by type, never half of one. */
export class ConfigStore {
  clusters: ReadonlyMap<string, Cluster> = new Map()
  endpoints: ReadonlyMap<string, readonly Endpoint[]> = new Map()
  listeners: ReadonlyMap<string, Listener> = new Map()
  routes: ReadonlyMap<string, RouteTable> = new Map()
  secrets: ReadonlyMap<string, TlsSecret> = new Map()
  /** Types that have been delivered at least once. */
  readonly delivered = new Set<string>()
  onListeners: () => void = () => {}

  /** True once every type is here: the proxy may serve. */
  get ready(): boolean {
    return (
      this.delivered.has('listeners') &&
      this.delivered.has('clusters') &&
      this.delivered.has('routes') &&
      this.delivered.has('endpoints')
    )
  }

  /** The listener for a connection that was on its way to `host:port`. */
  outboundListener(host: string, port: number): Listener | undefined {
    return (
      this.listeners.get(`${host}_${port}`) ??
      this.listeners.get(`0.0.0.0_${port}`) ??
      this.listeners.get('virtualOutbound')
    )
  }

  routeTable(chain: HttpChain): RouteTable | undefined {
    return typeof chain.route === 'string' ? this.routes.get(chain.route) : chain.route
  }

  /** Names of secrets the listeners ask for. */
  secretNames(): string[] {
    const names = new Set<string>()
    for (const l of this.listeners.values())
      for (const { tls } of l.chains) {
        if (tls) names.add(tls.certificate)
        if (tls?.authority) names.add(tls.authority)
      }
    return [...names].sort()
  }

  /** Names of route tables the listeners ask for. */
  routeNames(): string[] {
    const names = new Set<string>()
    for (const l of this.listeners.values())
      for (const chain of [...l.chains.map((c) => c.chain), ...(l.fallback ? [l.fallback] : [])])
        if (chain.kind === 'http' && typeof chain.route === 'string') names.add(chain.route)
    return [...names].sort()
  }
}
