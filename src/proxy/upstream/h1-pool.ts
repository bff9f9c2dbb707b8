// HTTP/1.1 connections to hosts: idle ones are used again, others are made as far as the cluster bears it.

import { Deadline } from '#base'
import type { HttpRequest, Upstream, UpstreamEvents, UpstreamFailure } from '../http/request.ts'
import { type Connector, usableEvent } from './connector.ts'
import { H1Connection } from './h1-connection.ts'
import type { Host, Waiting } from './host.ts'

/** Idle connections kept for a host. */
const IDLE_MAX = 128
/** Methods that may be sent again when it is not known whether they arrived (RFC 9110, 9.2.2). */
export const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
/** A connection idle for longer may be closed by the server at this moment: what cannot be repeated does not go there. */
const FRESH_MS = 2000
/** The server's own limit is not used up to the last moment, milliseconds. */
const MARGIN_MS = 1000

/** A request that has no connection yet. */
class Pending implements Upstream, Waiting {
  readonly #host: Host
  readonly #request: HttpRequest
  readonly #events: UpstreamEvents
  #connection: H1Connection | undefined
  #parts: Uint8Array[] = []
  #ended: { trailers: readonly string[] | undefined } | undefined
  #over = false

  constructor(host: Host, request: HttpRequest, events: UpstreamEvents) {
    this.#host = host
    this.#request = request
    this.#events = events
    host.cluster.pending++
  }

  get local(): string {
    return this.#connection?.local ?? ''
  }

  get over(): boolean {
    return this.#over
  }

  start(connection: H1Connection): void {
    this.#host.cluster.pending--
    this.#connection = connection
    connection.send(this.#request, this.#events)
    const had = this.#parts.length > 0
    for (const part of this.#parts.splice(0)) connection.write(part)
    if (this.#ended) connection.end(this.#ended.trailers)
    else if (had) this.#events.onDrain()
  }

  fail(reason: string, kind: UpstreamFailure = 'connect'): void {
    if (this.#over) return
    this.#over = true
    this.#host.cluster.pending--
    this.#events.onError(kind, reason, false)
  }

  write(chunk: Uint8Array): boolean {
    if (this.#connection) return this.#connection.write(chunk)
    this.#parts.push(chunk)
    return false
  }

  end(trailers: readonly string[] | undefined): void {
    if (this.#connection) this.#connection.end(trailers)
    else this.#ended = { trailers }
  }

  cancel(): void {
    if (this.#connection) return this.#connection.cancel()
    if (this.#over) return
    this.#over = true
    this.#host.cluster.pending--
    const at = this.#host.waiting.indexOf(this)
    if (at >= 0) this.#host.waiting.splice(at, 1)
  }

  pause(): void {
    this.#connection?.pause()
  }

  resume(): void {
    this.#connection?.resume()
  }
}

export class H1Pool {
  readonly #connector: Connector
  /** Connections that are being made, with the time they are given. */
  readonly #making = new Map<H1Connection, Deadline | undefined>()

  constructor(connector: Connector) {
    this.#connector = connector
  }

  /** Sends a request to a host. `fresh`: not on a connection that has served others. */
  request(host: Host, request: HttpRequest, events: UpstreamEvents, fresh: boolean): Upstream {
    const idle = fresh ? undefined : this.#takeIdle(host, IDEMPOTENT.has(request.method))
    if (idle) {
      idle.send(request, events)
      return idle
    }
    const { cluster } = host
    const { breakers } = cluster.config
    const pending = new Pending(host, request, events)
    if (cluster.pending > breakers.pending) {
      cluster.count('upstream_rq_pending_overflow')
      queueMicrotask(() => pending.fail('pending requests', 'overflow'))
      return pending
    }
    host.waiting.push(pending)
    this.#grow(host)
    return pending
  }

  /** Makes a connection for those that wait, as far as the cluster bears it. */
  #grow(host: Host): void {
    const { cluster } = host
    if (host.waiting.length <= host.making) return
    // A host without a connection may always have one: nobody else would serve those who wait for it (as Envoy).
    if (cluster.connections >= cluster.config.breakers.connections && host.connections > 0) {
      cluster.count('upstream_cx_overflow')
      // One that is idle, but not as fresh as is asked for, makes room.
      host.idle.shift()?.socket.destroy()
      return
    }
    cluster.connections++
    host.connections++
    host.stats.connections++
    cluster.count('upstream_cx_total')
    try {
      const socket = this.#connector.open(host, { sni: host.endpoint.hostname })
      const connection = new H1Connection(this, host, socket, usableEvent(socket))
      const limit = cluster.config.connectTimeout
      host.making++
      this.#making.set(connection, limit > 0 ? new Deadline(limit, () => connection.timeOut()) : undefined)
    } catch (error) {
      cluster.connections--
      host.connections--
      const first = host.waiting.shift()
      queueMicrotask(() => first?.fail((error as Error).message))
    }
  }

  /** For connections: one may be used. */
  connected(connection: H1Connection): void {
    this.#made(connection)
    this.#give(connection)
  }

  #made(connection: H1Connection): void {
    this.#making.get(connection)?.cancel()
    if (this.#making.delete(connection)) connection.host.making--
  }

  /** For connections: one has served its request. */
  released(connection: H1Connection): void {
    const { maxRequestsPerConnection: most, maxConnectionAge: oldest } = connection.host.cluster.config
    const spent = (most > 0 && connection.served >= most) || (oldest > 0 && connection.age >= oldest)
    if (connection.host.gone || spent || !connection.reusable) {
      connection.close()
      return
    }
    this.#give(connection)
  }

  #give(connection: H1Connection): void {
    const { host } = connection
    if (connection.epoch !== host.epoch) return connection.close()
    const next = host.waiting.shift()
    if (next) return next.start(connection)
    if (host.idle.length >= IDLE_MAX || host.gone) return connection.close()
    connection.idleSince = performance.now()
    host.idle.push(connection)
    if (!host.watched) this.#watchIdle(host)
  }

  /** Closes what has been idle for too long: one look for all connections of a host, as long as there are any. */
  #watchIdle(host: Host): void {
    const { idleTimeout } = host.cluster.config
    const pause = Math.min(idleTimeout > 0 ? idleTimeout / 2 : 60_000, 5000)
    host.watched = true
    const look = () => {
      const now = performance.now()
      while (host.idle.length > 0 && stale(host.idle[0]!, now)) host.idle.shift()!.close()
      host.watched = host.connections > 0 && !host.gone
      if (host.watched) setTimeout(look, pause).unref()
    }
    setTimeout(look, pause).unref()
  }

  #takeIdle(host: Host, repeatable: boolean): H1Connection | undefined {
    if (host.idle.length === 0) return undefined
    const now = performance.now()
    for (;;) {
      const connection = host.idle.at(-1)
      if (!connection) return undefined
      if (!repeatable && now - connection.idleSince > FRESH_MS) return undefined
      host.idle.pop()
      if (connection.reusable && !stale(connection, now)) return connection
      connection.close()
    }
  }

  /** For connections: one is gone. */
  ended(connection: H1Connection, usable: boolean, kind: UpstreamFailure, reason: string): void {
    const { host } = connection
    const { cluster } = host
    cluster.connections--
    host.connections--
    cluster.count('upstream_cx_destroy')
    const at = host.idle.indexOf(connection)
    if (at >= 0) host.idle.splice(at, 1)
    if (!usable) {
      this.#made(connection)
      host.stats.connectFailures++
      cluster.count(kind === 'timeout' ? 'upstream_cx_connect_timeout' : 'upstream_cx_connect_fail')
      const first = host.waiting.shift() as Pending | undefined
      first?.fail(reason, kind)
    }
    // There is room for one more, here or for another host of the cluster.
    if (host.waiting.length > 0) this.#grow(host)
    else
      for (const other of cluster.hosts.values())
        if (other.waiting.length > 0) {
          this.#grow(other)
          break
        }
  }
}

/** Whether the idle time of our side, or of the server's, is over. */
function stale(connection: H1Connection, now: number): boolean {
  const idle = now - connection.idleSince
  const { idleTimeout } = connection.host.cluster.config
  return (idleTimeout > 0 && idle >= idleTimeout) || idle >= connection.idleUntil - MARGIN_MS
}
