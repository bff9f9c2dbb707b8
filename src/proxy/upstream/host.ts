// An endpoint in use: its connections, what is under way there, and whether it is well.

import type { Endpoint } from '../config/model.ts'
import { type Peer, parseWorkload } from '../telemetry/peer.ts'
import type { ClusterState } from './cluster-state.ts'
import { transportFor } from './connector.ts'
import type { H1Connection } from './h1-connection.ts'
import type { H2Connection } from './h2-connection.ts'

/** A request that waits for a connection. */
export interface Waiting {
  start(connection: H1Connection): void
  fail(reason: string): void
}

export class Host {
  endpoint: Endpoint
  readonly cluster: ClusterState
  readonly key: string
  /** Requests under way; least-request looks at it. */
  active = 0
  /** Connections, those being made included. */
  connections = 0
  /** Since when it is known, milliseconds; it warms up from then on. */
  readonly since: number
  /** What active health checks say. */
  checked = true
  ejected = false
  ejectedUntil = 0
  ejections = 0
  consecutive5xx = 0
  consecutiveGateway = 0
  consecutiveLocal = 0
  gone = false
  /** Connections of an earlier one are not used again. */
  epoch = 0
  readonly stats = { connections: 0, connectFailures: 0, requests: 0, success: 0, error: 0, timeouts: 0 }
  /** Idle connections, the one used last at the end. */
  readonly idle: H1Connection[] = []
  readonly waiting: Waiting[] = []
  /** HTTP/1.1 connections that are being made. */
  making = 0
  /** Whether somebody looks after idle connections. */
  watched = false
  readonly sessions: H2Connection[] = []
  #peer: Peer | undefined

  constructor(endpoint: Endpoint, cluster: ClusterState, now: number) {
    this.endpoint = endpoint
    this.cluster = cluster
    this.key = `${endpoint.host}:${endpoint.port}`
    this.since = now
  }

  /** The workload behind it. */
  get peer(): Peer {
    this.#peer ??= parseWorkload(this.endpoint.workload)
    return this.#peer
  }

  get weight(): number {
    return this.endpoint.weight
  }

  /** Whether new requests may go there. */
  get usable(): boolean {
    return this.checked && !this.ejected && this.endpoint.health === 'healthy'
  }

  /** Takes what is told of it anew. */
  update(endpoint: Endpoint): void {
    if (endpoint.workload !== this.endpoint.workload) this.#peer = undefined
    const before = transportFor(this)
    this.endpoint = endpoint
    // By its labels another way of connecting may be meant.
    if (transportFor(this) !== before) this.renew()
  }

  /** It is no longer told of: what is under way ends, what is idle is closed. */
  retire(): void {
    this.gone = true
    this.#letGo()
  }

  /** It is connected to in another way from now on: what is open serves out what is under way, and is used no more. */
  renew(): void {
    this.epoch++
    this.#letGo()
  }

  #letGo(): void {
    for (const connection of this.idle.splice(0)) connection.close()
    for (const session of [...this.sessions]) session.close()
  }
}
