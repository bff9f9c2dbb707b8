// HTTP/2 from clients: a session on a connection that is already there, an exchange a stream.

import http2 from 'node:http2'
import type { Socket } from 'node:net'
import { type Destination, Exchange, type ExchangeContext } from './exchange.ts'
import type { Downstream } from './http.ts'
import type { HttpChain } from './model.ts'
import { flatten, toHeaders } from './upstream-h2.ts'

/** Streams a client may have open at once. */
const MAX_STREAMS = 1000

interface Route {
  chain: HttpChain
  context: ExchangeContext
  destination: Destination
}

/** The route of each session: they belong to one server that never listens. */
const sessions = new WeakMap<http2.ServerHttp2Session, Route>()

const server = http2.createServer({ settings: { maxConcurrentStreams: MAX_STREAMS, initialWindowSize: 1024 * 1024 } })
server.on('session', (session) => session.on('error', () => {}))
server.on('stream', (stream, headers) => {
  const { session } = stream
  const route = session && sessions.get(session as http2.ServerHttp2Session)
  if (route) serveStream(stream, headers, route)
  else stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR)
})

/** Serves a connection until it ends. What has been read of it must have been put back. */
export function serveH2(socket: Socket, chain: HttpChain, context: ExchangeContext, destination: Destination): void {
  server.once('session', (session) => sessions.set(session, { chain, context, destination }))
  server.emit('connection', socket)
}

function serveStream(
  stream: http2.ServerHttp2Stream,
  headers: http2.IncomingHttpHeaders,
  { chain, context, destination }: Route,
): void {
  let waitTrailers = false
  const downstream: Downstream = {
    respond(status, fields, end) {
      if (stream.closed || stream.destroyed) return
      waitTrailers = !end
      stream.respond({ ':status': status, ...toHeaders(fields) }, { endStream: end, waitForTrailers: waitTrailers })
    },
    data: (chunk) => (stream.closed || stream.destroyed ? true : stream.write(chunk)),
    end(trailers) {
      if (stream.closed || stream.destroyed) return
      stream.once('wantTrailers', () => {
        if (trailers?.length) stream.sendTrailers(toHeaders(trailers))
        else stream.close()
      })
      stream.end()
    },
    abort: () => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR),
    pauseRequest: () => stream.pause(),
    resumeRequest: () => stream.resume(),
  }
  const hasBody = !stream.endAfterHeaders
  const exchange = new Exchange(
    context,
    chain,
    {
      method: String(headers[':method']),
      path: String(headers[':path'] ?? '/'),
      authority: String(headers[':authority'] ?? headers.host ?? ''),
      // What a client says of its scheme is not believed: the connection tells.
      scheme: 'http',
      fields: flatten(headers),
      hasBody,
      protocol: 'HTTP/2',
    },
    downstream,
    destination,
  )
  stream.on('data', (chunk: Buffer) => exchange.data(chunk))
  if (hasBody) stream.on('end', () => exchange.end(undefined))
  stream.on('drain', () => exchange.drained())
  stream.on('error', () => {})
  stream.on('aborted', () => exchange.cancel())
  stream.on('close', () => {
    if (!exchange.finished) exchange.cancel()
  })
}
