// xDS resources as they came, decoded and put in force; one that cannot be used is refused, and the one before stays.

import { Cluster, ClusterLoadAssignment, Listener, RouteConfiguration, Secret, TYPE } from '#api/xds'
import { messageOf } from '#base'
import { type Message, type MessageType, message } from '#wire'
import type { LineSink } from '../telemetry/access-log.ts'
import { type ConfigStore, chainsOf } from './config-store.ts'
import { decodeCluster, decodeEndpoints } from './decode-cluster.ts'
import { decodeListener, decodeSecret } from './decode-listener.ts'
import { decodeRoutes } from './decode-route.ts'
import type * as Model from './model.ts'

/** A resource in force, and what is shown of it. */
export interface Known {
  readonly version: string
  readonly bytes: Buffer
  /** Milliseconds since the epoch. */
  readonly updated: number
  readonly decoded: unknown
}

/** A resource as a response brings it. */
export interface Told {
  readonly name: string
  readonly version: string
  readonly bytes: Uint8Array
}

const MESSAGE: Readonly<Record<string, MessageType>> = {
  [TYPE.cluster]: Cluster,
  [TYPE.endpoint]: ClusterLoadAssignment,
  [TYPE.listener]: Listener,
  [TYPE.route]: RouteConfiguration,
  [TYPE.secret]: Secret,
}

/** What all resources have in common: the first field is the name, cluster_name among them. */
const NAMED = message('Named', { name: [1, 'string'] })

/** Routes wait so long for the clusters they name to have their endpoints, milliseconds. */
const WARMING_MS = 5000

export class Resources {
  readonly #config: ConfigStore
  readonly #sink: LineSink
  readonly #known = new Map<string, Map<string, Known>>()
  /** Route tables whose clusters are not warm yet. */
  readonly #warming = new Map<string, { table: Model.RouteTable; timer: NodeJS.Timeout }>()
  /** Called with everything that was put in force, as it came; resolves when others who are told have it in force too. */
  onApply: (
    type: string,
    told: readonly Told[],
    removed: readonly string[],
    whole: boolean,
  ) => Promise<void> | undefined = () => undefined
  /** Of the last that was put in force. */
  everywhere: Promise<void> | undefined
  /** Called when something that was asked for is not kept any more. */
  onForget: (what: 'routes' | 'listeners', name: string) => void = () => {}
  /** Resources that were refused, with the reason, by type and name. */
  readonly errors = new Map<string, Map<string, string>>()

  constructor(config: ConfigStore, sink: LineSink) {
    this.#config = config
    this.#sink = sink
    config.demandedRoutes.onForget = (name) => {
      if (this.#known.get(TYPE.route)!.delete(name)) this.#putRoutes(name, undefined)
      this.onForget('routes', name)
    }
    config.demandedListeners.onForget = (name) => this.onForget('listeners', name)
    for (const type of Object.keys(MESSAGE)) {
      this.#known.set(type, new Map())
      this.errors.set(type, new Map())
    }
  }

  /** Resources of a type that are in force. */
  of(type: string): ReadonlyMap<string, Known> {
    return this.#known.get(type) ?? new Map()
  }

  isKnownType(type: string): boolean {
    return MESSAGE[type] !== undefined
  }

  /** The name that a resource bears. */
  nameOf(bytes: Uint8Array): string {
    return NAMED.decode(bytes).name ?? ''
  }

  /**
   * Puts resources in force. `whole`: those that are not among them are gone, where the type is told whole.
   * Returns why some are refused; the rest is in force.
   */
  apply(type: string, told: readonly Told[], removed: readonly string[], whole: boolean): string | undefined {
    const known = this.#known.get(type)!
    const errors = this.errors.get(type)!
    const reasons: string[] = []
    const changed: string[] = []
    const present = new Set(told.map((t) => t.name))
    for (const { name, version, bytes } of told) {
      const before = known.get(name)
      if (before?.bytes.equals(bytes)) {
        known.set(name, { ...before, version })
        errors.delete(name)
        continue
      }
      const copy = Buffer.from(bytes)
      try {
        const decoded = this.#decode(type, MESSAGE[type]!.decode(copy))
        known.set(name, { version, bytes: copy, updated: Date.now(), decoded })
        errors.delete(name)
        changed.push(name)
      } catch (error) {
        const message = messageOf(error)
        const reason = message.includes(name) ? message : `${name}: ${message}`
        reasons.push(reason)
        errors.set(name, reason)
      }
    }
    // Only listeners and clusters are told whole; of the others what is not mentioned is as it was.
    const gone =
      whole && (type === TYPE.listener || type === TYPE.cluster) ? [...known.keys()].filter((n) => !present.has(n)) : []
    for (const name of [...gone, ...removed]) if (known.delete(name)) changed.push(name)
    this.#put(type, changed)
    if (type === TYPE.cluster) for (const name of removed) this.#config.demandedClusters.tell(name, true)
    if (type === TYPE.listener) for (const name of removed) this.#config.demandedListeners.tell(name, true)
    if (type === TYPE.route) for (const name of removed) this.#config.demandedRoutes.tell(name, true)
    this.everywhere = this.onApply(type, told, removed, whole)
    return reasons.length > 0 ? reasons.join('; ') : undefined
  }

  #decode(type: string, m: Message): unknown {
    switch (type) {
      case TYPE.cluster:
        return decodeCluster(m)
      case TYPE.endpoint:
        return decodeEndpoints(m).endpoints
      case TYPE.listener:
        return decodeListener(m, this.#sink)
      case TYPE.route:
        return decodeRoutes(m)
      default:
        return decodeSecret(m)
    }
  }

  #put(type: string, changed: readonly string[]): void {
    const config = this.#config
    const known = this.#known.get(type)!
    switch (type) {
      case TYPE.cluster:
        for (const name of changed) {
          const cluster = known.get(name)?.decoded as Model.Cluster | undefined
          if (!cluster) config.removeCluster(name)
          else {
            config.putCluster(cluster)
            // Its endpoints may be here already.
            const endpoints = this.of(TYPE.endpoint).get(cluster.edsName)
            if (endpoints && cluster.type === 'eds')
              config.setEndpoints(cluster.edsName, endpoints.decoded as Model.Endpoint[])
          }
        }
        config.delivered.add('clusters')
        break
      case TYPE.endpoint:
        for (const name of changed)
          config.setEndpoints(name, (known.get(name)?.decoded as Model.Endpoint[] | undefined) ?? [])
        config.delivered.add('endpoints')
        this.#wake()
        break
      case TYPE.listener: {
        const before = config.listeners
        config.setListeners(new Map([...known].map(([name, k]) => [name, k.decoded as Model.Listener])))
        for (const [name, listener] of before)
          if (config.listeners.get(name) !== listener)
            for (const { chain } of chainsOf(listener)) config.retired.add(chain)
        config.delivered.add('listeners')
        config.tellListeners()
        if (changed.length > 0) config.onListeners()
        break
      }
      case TYPE.route:
        for (const name of changed) this.#putRoutes(name, known.get(name)?.decoded as Model.RouteTable | undefined)
        config.delivered.add('routes')
        break
      default:
        config.secrets = new Map([...known].map(([name, k]) => [name, k.decoded as Model.TlsSecret]))
    }
  }

  /** Routes come in force when the clusters they name have been told their endpoints. */
  #putRoutes(name: string, table: Model.RouteTable | undefined): void {
    const waiting = this.#warming.get(name)
    if (waiting) clearTimeout(waiting.timer)
    this.#warming.delete(name)
    const { routes } = this.#config
    if (table && routes.has(name) && !this.#isWarm(table)) {
      const timer = setTimeout(() => this.#activate(name, table), WARMING_MS).unref()
      this.#warming.set(name, { table, timer })
      return
    }
    this.#activate(name, table)
  }

  #activate(name: string, table: Model.RouteTable | undefined): void {
    this.#warming.delete(name)
    const routes = new Map(this.#config.routes)
    if (table) routes.set(name, table)
    else routes.delete(name)
    this.#config.routes = routes
    if (!table) return
    this.#config.demandedRoutes.tell(name)
    this.#config.tellListeners()
  }

  #wake(): void {
    for (const [name, { table, timer }] of [...this.#warming])
      if (this.#isWarm(table)) {
        clearTimeout(timer)
        this.#activate(name, table)
      }
  }

  #isWarm(table: Model.RouteTable): boolean {
    const hosts = [...table.exact.values(), ...table.suffixes.map((s) => s.host), ...table.prefixes.map((p) => p.host)]
    if (table.any) hosts.push(table.any)
    for (const host of new Set(hosts))
      for (const route of host.routes)
        for (const { name } of route.clusters) if (this.#config.clusters.get(name)?.warm === false) return false
    return true
  }
}
