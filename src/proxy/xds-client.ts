// The ADS client: subscribes, applies what is good, refuses what is not with a reason, reconnects.

import { readFileSync } from 'node:fs'
import {
  ClusterLoadAssignment,
  Cluster as ClusterType,
  Listener as ListenerType,
  RouteConfiguration,
  Secret,
  streamAggregatedResources,
  TYPE,
  toStruct,
} from '#api/xds'
import { type Log, messageOf } from '#base'
import { GrpcClient, type GrpcStream, type Message, type MessageType } from '#wire'
import type { ConfigStore } from './config-store.ts'
import { decodeCluster, decodeEndpoints, decodeListener, decodeRoutes, decodeSecret, type Endpoint } from './model.ts'

export interface XdsClientOptions {
  host: string
  port: number
  /** PEM files: the mesh's CA and the token to show. */
  caFile: string
  tokenFile: string
  node: { id: string; cluster: string; metadata: Record<string, unknown> }
  config: ConfigStore
  log: Log
}

interface TypeState {
  version: string
  nonce: string
  names: readonly string[]
}

const ORDER = [TYPE.cluster, TYPE.endpoint, TYPE.listener, TYPE.route, TYPE.secret] as const
/** Types that are asked for by the names listeners mention, once there are any. */
const NAMED: ReadonlySet<string> = new Set([TYPE.route, TYPE.secret])
const MESSAGE: Record<string, MessageType> = {
  [TYPE.cluster]: ClusterType,
  [TYPE.endpoint]: ClusterLoadAssignment,
  [TYPE.listener]: ListenerType,
  [TYPE.route]: RouteConfiguration,
  [TYPE.secret]: Secret,
}

export class XdsClient {
  readonly #options: XdsClientOptions
  readonly #state = new Map<string, TypeState>()
  #stream: GrpcStream | undefined
  #client: GrpcClient | undefined
  #delay = 100
  /** Resources as they came, for the admin's config dump. */
  readonly raw = new Map<string, Message[]>()

  constructor(options: XdsClientOptions) {
    this.#options = options
  }

  /** Connects, and stays connected for the life of the process. */
  start(): void {
    const { host, port, caFile, tokenFile, log } = this.#options
    try {
      const ca = readFileSync(caFile, 'utf8')
      this.#client = new GrpcClient({
        host,
        port,
        tls: { ca, servername: 'istiod.istio-system.svc' },
        headers: () => ({ authorization: `Bearer ${readFileSync(tokenFile, 'utf8').trim()}` }),
      })
      this.#stream = this.#client.stream(streamAggregatedResources, {
        onMessage: (m) => this.#receive(m),
        onEnd: (error) => this.#again(error?.message ?? 'the server ended the stream'),
      })
    } catch (error) {
      return this.#again(messageOf(error))
    }
    for (const url of ORDER) this.#state.set(url, { version: '', nonce: '', names: [] })
    for (const [i, url] of ORDER.entries())
      if (!NAMED.has(url) || this.#namesOf(url).length > 0) this.#send(url, i === 0)
    log.debug('connected', { host, port })
  }

  #again(reason: string): void {
    this.#client?.close()
    this.#options.log.warn('control plane lost, serving with what is known', { reason, retryMs: this.#delay })
    setTimeout(() => this.start(), this.#delay)
    this.#delay = Math.min(this.#delay * 2, 5000)
  }

  #send(url: string, withNode: boolean, error?: string): void {
    const s = this.#state.get(url)!
    s.names = this.#namesOf(url)
    this.#stream?.send({
      type_url: url,
      version_info: s.version,
      response_nonce: s.nonce,
      resource_names: s.names,
      ...(withNode
        ? {
            node: {
              id: this.#options.node.id,
              cluster: this.#options.node.cluster,
              metadata: toStruct(this.#options.node.metadata),
              user_agent_name: 'sampan',
            },
          }
        : {}),
      ...(error ? { error_detail: { code: 3, message: error } } : {}),
    })
  }

  #namesOf(url: string): string[] {
    const { config } = this.#options
    if (url === TYPE.route) return config.routeNames()
    return url === TYPE.secret ? config.secretNames() : []
  }

  #receive(response: Message): void {
    this.#delay = 100
    const url: string = response.type_url
    const s = this.#state.get(url)
    const type = MESSAGE[url]
    if (!s || !type) return
    s.nonce = response.nonce ?? ''
    try {
      const decoded = ((response.resources ?? []) as Message[]).map((r) => type.decode(r.value))
      this.#apply(url, decoded)
      this.raw.set(url, decoded)
    } catch (error) {
      // The good configuration before stays in force.
      this.#options.log.warn('configuration refused', { type: url, reason: messageOf(error) })
      return this.#send(url, false, messageOf(error))
    }
    s.version = response.version_info ?? ''
    this.#send(url, false)
  }

  #apply(url: string, resources: readonly Message[]): void {
    const { config } = this.#options
    switch (url) {
      case TYPE.cluster: {
        const before = config.clusters
        config.clusters = new Map(
          resources.map((r) => {
            const cluster = decodeCluster(r)
            cluster.turn = before.get(cluster.name)?.turn ?? 0
            return [cluster.name, cluster]
          }),
        )
        config.delivered.add('clusters')
        return
      }
      case TYPE.endpoint: {
        // Endpoints that stay keep their counters.
        const known = new Map<string, Endpoint>()
        for (const [name, list] of config.endpoints) for (const e of list) known.set(`${name}/${e.host}:${e.port}`, e)
        config.endpoints = new Map(
          resources.map((r) => {
            const { name, endpoints } = decodeEndpoints(r)
            return [name, endpoints.map((e) => known.get(`${name}/${e.host}:${e.port}`) ?? e)]
          }),
        )
        config.delivered.add('endpoints')
        return
      }
      case TYPE.listener: {
        config.listeners = new Map(resources.map((r) => [r.name, decodeListener(r)]))
        config.delivered.add('listeners')
        if (config.routeNames().length === 0) config.delivered.add('routes')
        config.onListeners()
        for (const type of NAMED) {
          const names = this.#namesOf(type)
          const s = this.#state.get(type)!
          if (names.join() !== s.names.join() || (s.nonce === '' && type === TYPE.route)) this.#send(type, false)
        }
        return
      }
      case TYPE.route:
        config.routes = new Map(resources.map((r) => [r.name, decodeRoutes(r)]))
        config.delivered.add('routes')
        return
      case TYPE.secret:
        config.secrets = new Map(resources.map((r) => [r.name, decodeSecret(r)]))
    }
  }
}
