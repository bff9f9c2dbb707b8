// HTTP/2 connections to hosts: one for all requests, another when its streams are used up.

import { Deadline } from '#base'
import type { HttpRequest, Upstream, UpstreamEvents, UpstreamFailure } from '../http/request.ts'
import { type Connector, usableEvent } from './connector.ts'
import { H2Connection, type H2Keeper } from './h2-connection.ts'
import type { Host } from './host.ts'

/** Requests that a connection takes while nobody knows how many the server allows. */
const UNSETTLED = 100

export class H2Pool implements H2Keeper {
  readonly #connector: Connector
  readonly #making = new Map<H2Connection, Deadline | undefined>()

  constructor(connector: Connector) {
    this.#connector = connector
  }

  /** Sends a request to a host. */
  request(host: Host, request: HttpRequest, events: UpstreamEvents): Upstream {
    const { maxRequestsPerConnection: most, maxConnectionAge: oldest, http2 } = host.cluster.config
    for (const connection of host.sessions) {
      const bound = connection.usable ? http2.streams : Math.min(http2.streams, UNSETTLED)
      if (!connection.available || connection.open >= bound) continue
      if ((most > 0 && connection.served >= most) || (oldest > 0 && connection.age >= oldest)) {
        connection.close()
        continue
      }
      return connection.request(request, events)
    }
    const { cluster } = host
    if (cluster.connections >= cluster.config.breakers.connections && host.sessions.length > 0) {
      cluster.count('upstream_cx_overflow')
      queueMicrotask(() => events.onError('overflow', 'connections', false))
      return NOTHING
    }
    try {
      return this.#open(host).request(request, events)
    } catch (error) {
      queueMicrotask(() => events.onError('connect', (error as Error).message, false))
      return NOTHING
    }
  }

  #open(host: Host): H2Connection {
    const { cluster } = host
    const socket = this.#connector.open(host, { alpn: ['h2'], sni: host.endpoint.hostname })
    const connection = new H2Connection(this, host, socket, usableEvent(socket))
    cluster.connections++
    host.connections++
    host.stats.connections++
    cluster.count('upstream_cx_total')
    const limit = cluster.config.connectTimeout
    this.#making.set(connection, limit > 0 ? new Deadline(limit, () => connection.timeOut()) : undefined)
    host.sessions.push(connection)
    return connection
  }

  connected(connection: H2Connection): void {
    this.#making.get(connection)?.cancel()
    this.#making.delete(connection)
    this.#watchIdle(connection)
    this.#keepAlive(connection)
  }

  /** Asks now and then whether the other end is there; one that does not answer in time is given up. */
  #keepAlive(connection: H2Connection): void {
    const { keepAlive } = connection.host.cluster.config.http2
    if (!keepAlive) return
    const ask = () => {
      if (connection.over) return
      const late = new Deadline(keepAlive.timeout, () => {
        if (connection.over) return
        connection.host.cluster.count('http2.keepalive_timeout')
        connection.giveUp()
      })
      connection.ping(() => {
        late.cancel()
        setTimeout(ask, keepAlive.interval).unref()
      })
    }
    setTimeout(ask, keepAlive.interval).unref()
  }

  /** Closes a connection that nobody has used for its time: one look, however many requests it serves. */
  #watchIdle(connection: H2Connection): void {
    const { idleTimeout } = connection.host.cluster.config
    if (idleTimeout <= 0) return
    const look = () => {
      if (connection.over) return
      const left = connection.idleSince + idleTimeout - performance.now()
      if (connection.open === 0 && left <= 0) connection.close()
      else setTimeout(look, connection.open > 0 ? idleTimeout : left).unref()
    }
    setTimeout(look, idleTimeout).unref()
  }

  ended(connection: H2Connection, kind: UpstreamFailure): void {
    this.#making.get(connection)?.cancel()
    this.#making.delete(connection)
    const { host } = connection
    const { cluster } = host
    cluster.connections--
    host.connections--
    cluster.count('upstream_cx_destroy')
    const at = host.sessions.indexOf(connection)
    if (at >= 0) host.sessions.splice(at, 1)
    if (connection.usable) return
    host.stats.connectFailures++
    cluster.count(kind === 'timeout' ? 'upstream_cx_connect_timeout' : 'upstream_cx_connect_fail')
  }
}

const NOTHING: Upstream = {
  write: () => true,
  end() {},
  cancel() {},
  pause() {},
  resume() {},
  local: '',
}
