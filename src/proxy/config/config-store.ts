// The configuration in force: what xDS has delivered, looked up by the data path.

import { ClusterState } from '../upstream/cluster-state.ts'
import { Demand } from './demand.ts'
import type { Chain, Cluster, Endpoint, HttpChain, Listener, RouteTable, TlsSecret } from './model.ts'

/** As many hosts of routes are asked for at most, and as many addresses that have no listener of their own. */
const MOST_HOSTS = 2000

/** Everything the data path reads. Replaced type by type, never half of one. */
export class ConfigStore {
  readonly clusters = new Map<string, ClusterState>()
  listeners: ReadonlyMap<string, Listener> = new Map()
  routes: ReadonlyMap<string, RouteTable> = new Map()
  secrets: ReadonlyMap<string, TlsSecret> = new Map()
  /** Types that have been delivered at least once. */
  readonly delivered = new Set<string>()
  /** Chains of listeners that have changed or gone: their connections end after what is under way. */
  readonly retired = new WeakSet<Chain>()
  onListeners: () => void = () => {}
  /** Whether clusters that the control plane has not told may be asked for. */
  onDemand = false
  /** Clusters that were asked for, by their names. */
  readonly demandedClusters = new Demand()
  /** Tables of one host that were asked for, by their names. */
  readonly demandedRoutes = new Demand(MOST_HOSTS)
  /** Listeners of single addresses that were asked for, by their names. */
  readonly demandedListeners = new Demand(MOST_HOSTS, true)
  /** Whether listeners were ever said to be told on demand. */
  listenersOnDemand = false

  /** True once every type is here: the proxy may serve. */
  get ready(): boolean {
    return (
      this.delivered.has('listeners') &&
      this.delivered.has('clusters') &&
      (this.delivered.has('routes') || this.routeNames().length === 0) &&
      (this.delivered.has('endpoints') || this.endpointNames().length === 0)
    )
  }

  /** A cluster that requests may go to now; undefined when it is not here, or here and still waited for. */
  usable(name: string): ClusterState | undefined {
    const cluster = this.clusters.get(name)
    return cluster?.warm || !this.demandedClusters.isAwaited(name) ? cluster : undefined
  }

  /**
   * A cluster that is not usable: `done` is called once it is here and has its endpoints, with undefined when there is
   * none, and with what there is when that takes too long.
   */
  awaitCluster(name: string, done: (cluster: ClusterState | undefined) => void): void {
    const tell = () => done(this.clusters.get(name))
    if (!this.onDemand || this.demandedClusters.isAbsent(name)) tell()
    else this.demandedClusters.ask(name, tell)
  }

  /** Takes the clusters that are; hosts and what is under way stay where the name does. */
  setClusters(configs: readonly Cluster[]): void {
    const names = new Set(configs.map((c) => c.name))
    for (const name of [...this.clusters.keys()]) if (!names.has(name)) this.removeCluster(name)
    for (const config of configs) this.putCluster(config)
    this.delivered.add('clusters')
  }

  putCluster(config: Cluster): void {
    const known = this.clusters.get(config.name)
    if (known && known.config.type === config.type) known.configure(config)
    else {
      known?.close()
      const state = new ClusterState(config)
      this.clusters.set(config.name, state)
      if (state.warm) this.demandedClusters.tell(config.name)
      else state.onWarm = () => this.demandedClusters.tell(config.name)
    }
  }

  removeCluster(name: string): void {
    this.clusters.get(name)?.close()
    this.clusters.delete(name)
  }

  /** Endpoints of clusters that ask for them by this name. */
  setEndpoints(name: string, endpoints: readonly Endpoint[]): void {
    for (const cluster of this.clusters.values())
      if (cluster.config.type === 'eds' && cluster.config.edsName === name) cluster.update(endpoints)
  }

  /** Puts listeners in force. */
  setListeners(listeners: ReadonlyMap<string, Listener>): void {
    this.listeners = listeners
    // The control plane does not go back to telling all to one whom it has told few.
    this.listenersOnDemand ||= this.onDemand && listeners.get('virtualOutbound')?.onDemand === true
  }

  /** Whether the listener for `host:port` is known: one of its own with its routes, or that there is none. */
  knowsListener(host: string, port: number): boolean {
    if (!this.listenersOnDemand) return true
    const name = `${host}_${port}`
    return this.#isComplete(name) || this.demandedListeners.isAbsent(name)
  }

  /** Tells those who wait for listeners that are here now with their routes. */
  tellListeners(): void {
    for (const name of this.demandedListeners.names)
      if (this.demandedListeners.isAwaited(name) && this.#isComplete(name)) this.demandedListeners.tell(name)
  }

  #isComplete(name: string): boolean {
    const listener = this.listeners.get(name)
    return (
      listener !== undefined &&
      chainsOf(listener).every(
        ({ chain }) => chain.kind !== 'http' || typeof chain.route !== 'string' || this.routes.has(chain.route),
      )
    )
  }

  /** Asks for the listener of an address; `done` is called when it is here, or when there is none. */
  awaitListener(host: string, port: number, done: () => void): void {
    this.demandedListeners.ask(`${host}_${port}`, done)
  }

  /** The listener for a connection that was on its way to `host:port`. */
  outboundListener(host: string, port: number): Listener | undefined {
    return (
      this.listeners.get(`${host}_${port}`) ??
      this.listeners.get(`0.0.0.0_${port}`) ??
      this.listeners.get('virtualOutbound')
    )
  }

  /** The table for a host: the one that was told for it alone, or the chain's. */
  routeTable(chain: HttpChain, authority: string): RouteTable | undefined {
    if (typeof chain.route !== 'string') return chain.route
    const table = this.routes.get(chain.route)
    return table?.onDemand ? (this.routes.get(hostTable(table, authority)) ?? table) : table
  }

  /** Whether the routes of a host are here, or are not to be had. */
  hasRoutes(chain: HttpChain, authority: string): boolean {
    if (typeof chain.route !== 'string') return true
    const table = this.routes.get(chain.route)
    if (!table?.onDemand) return true
    const name = hostTable(table, authority)
    return this.routes.has(name) || this.demandedRoutes.isAbsent(name)
  }

  /** Asks for the routes of a host; `done` is called when they are here, when there are none, or when it takes too long. */
  awaitRoutes(chain: HttpChain, authority: string, done: () => void): void {
    this.demandedRoutes.ask(hostTable({ name: String(chain.route) }, authority), done)
  }

  /** Names under which the clusters' endpoints are asked for. */
  endpointNames(): string[] {
    const names = new Set<string>()
    for (const { config } of this.clusters.values()) if (config.type === 'eds') names.add(config.edsName)
    return [...names].sort()
  }

  /** Names of secrets that listeners and clusters ask for. */
  secretNames(): string[] {
    const names = new Set<string>()
    for (const l of this.listeners.values())
      for (const { tls } of chainsOf(l)) {
        if (tls?.certificate) names.add(tls.certificate)
        if (tls?.authority) names.add(tls.authority)
      }
    for (const { config } of this.clusters.values())
      for (const { tls } of config.transports) {
        if (tls?.certificate) names.add(tls.certificate)
        if (tls?.authority) names.add(tls.authority)
      }
    return [...names].sort()
  }

  /** Names of route tables the listeners ask for. */
  routeNames(): string[] {
    const names = new Set<string>()
    for (const l of this.listeners.values())
      for (const { chain } of chainsOf(l))
        if (chain.kind === 'http' && typeof chain.route === 'string') names.add(chain.route)
    // Of tables that nobody mentions any more no host is asked for.
    for (const name of this.demandedRoutes.names) if (names.has(name.slice(0, name.indexOf('/')))) names.add(name)
    return [...names].sort()
  }
}

/** All chains of a listener. */
export const chainsOf = (l: Listener) => (l.fallback ? [...l.chains, l.fallback] : l.chains)

const hostTable = (table: { readonly name: string }, authority: string) => `${table.name}/${authority.toLowerCase()}`
