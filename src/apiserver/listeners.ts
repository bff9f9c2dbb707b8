// Where the API server listens: TLS, then HTTP/2 or HTTP/1.1 as the client chose.

import type { IncomingMessage, ServerResponse } from 'node:http'
import http2 from 'node:http2'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { Http1Connection, type Http1Options } from './http1-connection.ts'

/** Who the server is, and whose certificates of clients it reads. */
export interface ServingTls {
  readonly cert: string
  readonly key: string
  readonly clientCa: string
}

/** What is done with what comes. */
export interface RequestHandlers {
  request(request: IncomingMessage, response: ServerResponse): void
  /** A connection that is to become a stream of another protocol. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
}

/** Connections at once: as many as watches that one user may have, and more. */
const MAX_CONNECTIONS = 20_000
/** How often connections are looked at that may have been forgotten, seconds. */
const TICK_S = 5
/** How long connections may end by themselves when all stops, milliseconds. */
const CLOSE_MS = 500

/** The addresses an API server listens on and the connections that came there. */
export class Listeners {
  readonly #tls: ServingTls
  readonly #handlers: RequestHandlers
  readonly #servers: Server[] = []
  readonly #sessions = new Set<http2.ServerHttp2Session>()
  readonly #connections = new Set<Http1Connection>()
  readonly #ticking = setInterval(() => {
    for (const connection of this.#connections) connection.tick(TICK_S)
  }, TICK_S * 1000).unref()

  constructor(tls: ServingTls, handlers: RequestHandlers) {
    this.#tls = tls
    this.#handlers = handlers
  }

  /** Listens on an address; returns the port. */
  async listen(host: string, port: number): Promise<number> {
    const server = createServer({
      cert: this.#tls.cert,
      key: this.#tls.key,
      ca: this.#tls.clientCa,
      requestCert: true,
      rejectUnauthorized: false,
      minVersion: 'TLSv1.2',
      maxHeaderSize: 64 * 1024,
      keepAliveTimeout: 120_000,
      headersTimeout: 30_000,
      requestTimeout: 0,
      ALPNProtocols: ['h2', 'http/1.1'],
    })
    server.maxConnections = MAX_CONNECTIONS
    this.#dispatch(server)
    server.on('request', this.#handlers.request)
    server.on('upgrade', this.#handlers.upgrade)
    server.on('tlsClientError', (_error, socket) => socket.destroy())
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host, () => {
        server.off('error', reject)
        resolve()
      })
    })
    this.#servers.push(server)
    return (server.address() as AddressInfo).port
  }

  /** Ends every connection: politely, then not. */
  async close(): Promise<void> {
    clearInterval(this.#ticking)
    for (const session of this.#sessions) session.close()
    for (const connection of this.#connections) connection.close()
    setTimeout(() => {
      for (const session of this.#sessions) session.destroy()
      for (const connection of this.#connections) connection.destroy()
    }, CLOSE_MS).unref()
    await Promise.all(
      this.#servers.map(
        (server) =>
          new Promise<void>((resolve) => {
            server.close(() => resolve())
            server.closeIdleConnections()
            setTimeout(() => server.closeAllConnections(), CLOSE_MS).unref()
          }),
      ),
    )
  }

  /**
   * Connections whose client chose HTTP/2 go to a server of that protocol; of the others, requests that come
   * and are answered in one piece are served here, and the rest by Node's own server.
   */
  #dispatch(server: Server): void {
    const serve = this.#handlers.request as (request: unknown, response: unknown) => void
    const h2 = http2.createSecureServer({ settings: { maxConcurrentStreams: 250 }, maxSessionMemory: 100 })
    h2.on('request', serve)
    h2.on('session', (session) => {
      this.#sessions.add(session)
      session.on('close', () => this.#sessions.delete(session))
    })
    h2.on('sessionError', () => {})
    const http1 = server.listeners('secureConnection') as ((socket: TLSSocket) => void)[]
    server.removeAllListeners('secureConnection')
    const options: Http1Options = {
      serve,
      handOver: (socket) => {
        for (const listener of http1) listener.call(server, socket)
      },
      onEnd: (connection) => this.#connections.delete(connection),
    }
    server.on('secureConnection', (socket: TLSSocket) => {
      if (socket.alpnProtocol === 'h2') h2.emit('secureConnection', socket)
      else this.#connections.add(new Http1Connection(socket, options))
    })
  }
}
