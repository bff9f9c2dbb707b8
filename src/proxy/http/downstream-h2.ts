// HTTP/2 from clients: an exchange a stream.

import type { Socket } from 'node:net'
import { H2Code, H2Session, type H2Stream, type H2StreamEvents, isTarget, isToken, Output, readBytes } from '#wire'
import type { HttpChain } from '../config/model.ts'
import type { ProxyContext } from './context.ts'
import { Exchange } from './exchange.ts'
import { AUTHORITY, type Downstream, dropField, fieldOf, type HttpRequest } from './request.ts'
import type { Source } from './source.ts'

/** How often a session that is to drain looks whether it may end, milliseconds. */
const DRAIN_LOOK_MS = 500
/** How long a session that is over is written to its end, milliseconds. */
const LAST_MS = 60_000

/** Serves a connection until it ends. `first` is what has been read of it. */
export function serveH2(socket: Socket, first: Buffer, chain: HttpChain, context: ProxyContext, source: Source): void {
  const output = new Output(socket)
  const born = performance.now()
  let served = 0
  let used = born
  let last: NodeJS.Timeout | undefined
  const session = new H2Session('server', output, {
    onRequest(stream, fields, end) {
      served++
      used = performance.now()
      new H2Downstream(stream, fields, end, chain, context, source)
      if (chain.maxRequests > 0 && served === chain.maxRequests) session.close()
    },
    onEnd(error) {
      if (error) context.stats.counters.protocolErrors++
      output.end()
      clearInterval(look)
      // What is on its way may take a slow reader a while.
      if (socket.destroyed) return
      socket.once('finish', () => setTimeout(() => socket.destroy(), DRAIN_LOOK_MS).unref())
      last = setTimeout(() => socket.destroy(), LAST_MS).unref()
    },
  })
  const look = setInterval(() => {
    const now = performance.now()
    if (session.open > 0) used = now
    const { idleTimeout, maxConnectionAge } = chain
    const retired = context.draining || context.config.retired.has(chain)
    if (retired || (maxConnectionAge > 0 && now - born > maxConnectionAge)) session.close()
    else if (idleTimeout > 0 && now - used > idleTimeout) session.close()
  }, DRAIN_LOOK_MS).unref()
  socket.on('end', () => output.end())
  socket.on('error', () => socket.destroy())
  socket.on('close', () => {
    clearInterval(look)
    session.end()
    clearTimeout(last)
  })
  if (first.length > 0) session.push(first)
  readBytes(socket, (data) => session.push(data))
  socket.resume()
}

class H2Downstream implements Downstream, H2StreamEvents {
  readonly #stream: H2Stream
  readonly #exchange: Exchange | undefined

  constructor(
    stream: H2Stream,
    fields: string[],
    end: boolean,
    chain: HttpChain,
    context: ProxyContext,
    source: Source,
  ) {
    this.#stream = stream
    stream.events = this
    const request = toRequest(fields, end)
    if (typeof request === 'number') {
      context.stats.counters.protocolErrors++
      stream.head([':status', String(request), 'content-length', '0'], true)
      if (!end) stream.reset(H2Code.noError)
      return
    }
    this.#exchange = new Exchange(context, chain, request, this, source)
    this.#exchange.begin()
  }

  respond(status: number, fields: readonly string[], end: boolean): void {
    const all = [':status', String(status)]
    for (const field of fields) all.push(field)
    this.#stream.head(all, end)
  }

  data(chunk: Uint8Array): boolean {
    return this.#stream.data(chunk)
  }

  end(trailers: readonly string[] | undefined): void {
    this.#stream.end(trailers)
  }

  abort(): void {
    this.#stream.reset(H2Code.internal)
  }

  pauseRequest(): void {
    this.#stream.pause()
  }

  resumeRequest(): void {
    this.#stream.resume()
  }

  finished(): void {
    // An answer before the end of the request: the rest is not wanted (RFC 9113, 8.1).
    if (!this.#stream.over && !this.#stream.remoteEnded) queueMicrotask(() => this.#stream.refuseRest())
  }

  onData(data: Buffer): void {
    this.#exchange?.data(data)
  }

  onEnd(trailers: string[] | undefined): void {
    this.#exchange?.end(trailers)
  }

  onReset(): void {
    this.#exchange?.cancel()
  }

  onDrain(): void {
    this.#exchange?.drained()
  }
}

/** A request out of a stream's fields, or the status it is refused with. */
function toRequest(fields: string[], end: boolean): HttpRequest | number {
  let method = ''
  let path = ''
  let authority: string | undefined
  let at = 0
  for (; at < fields.length && fields[at]!.charCodeAt(0) === 58; at += 2) {
    const value = fields[at + 1]!
    switch (fields[at]) {
      case ':method':
        method = value
        break
      case ':path':
        path = value
        break
      case ':authority':
        authority = value
        break
    }
  }
  fields.splice(0, at)
  const host = fieldOf(fields, 'host')
  // Two names for one request are one too many.
  if (host !== undefined && authority !== undefined && host.toLowerCase() !== authority.toLowerCase()) return 400
  dropField(fields, 'host')
  dropField(fields, 'http2-settings')
  authority ??= host ?? ''
  if (!isToken(method) || !AUTHORITY.test(authority)) return 400
  const connect = method === 'CONNECT'
  if (connect) path = '/'
  if (!isTarget(path) || path.includes('#') || !(path.startsWith('/') || (path === '*' && method === 'OPTIONS')))
    return 400
  const trailers = fieldOf(fields, 'te')?.includes('trailers') ?? false
  dropField(fields, 'te')
  // Cookies may come in parts; HTTP/1.1 has one field (RFC 9113, 8.2.3).
  joinCookies(fields)
  dropField(fields, 'expect')
  return {
    method,
    path,
    authority,
    scheme: 'http',
    fields,
    hasBody: !end,
    protocol: 'HTTP/2',
    upgrade: connect ? 'connect' : '',
    trailers,
  }
}

function joinCookies(fields: string[]): void {
  let first = -1
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] !== 'cookie') continue
    if (first < 0) first = i
    else {
      fields[first + 1] += `; ${fields[i + 1]}`
      fields.splice(i, 2)
      i -= 2
    }
  }
}
