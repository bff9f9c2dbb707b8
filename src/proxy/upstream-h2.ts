// HTTP/2 to servers: one connection an address, many streams.

import http2 from 'node:http2'
import { connect } from 'node:net'
import { endToEnd, type HttpRequest, type Upstream, type UpstreamEvents } from './http.ts'

const IDLE_MS = 60_000

export class H2Pool {
  readonly #sessions = new Map<string, http2.ClientHttp2Session>()
  onConnection: () => void = () => {}

  request(
    host: string,
    port: number,
    connectTimeout: number,
    request: HttpRequest,
    extra: readonly string[],
    events: UpstreamEvents,
    fresh: boolean,
  ): Upstream {
    const address = `${host}:${port}`
    const known = this.#sessions.get(address)
    const reused = !fresh && known !== undefined && !known.closed && !known.destroyed
    const session = reused ? known : this.#open(address, host, port, connectTimeout)
    const headers: http2.OutgoingHttpHeaders = {
      ':method': request.method,
      ':path': request.path,
      ':authority': request.authority,
      ':scheme': 'http',
    }
    addFields(headers, endToEnd(request.fields))
    addFields(headers, extra)
    let settled = false
    let headSeen = false
    let stream: http2.ClientHttp2Stream
    const fail = (kind: 'connect' | 'reset', reason: string) => {
      if (settled) return
      settled = true
      events.onError(kind, reason, reused)
    }
    try {
      stream = session.request(headers, { endStream: !request.hasBody })
    } catch (error) {
      queueMicrotask(() => fail('connect', (error as Error).message))
      return { write: () => true, end() {}, cancel() {}, pause() {}, resume() {} }
    }
    let trailers: string[] | undefined
    stream.on('response', (h, flags) => {
      headSeen = true
      const end = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0
      if (end) settled = true
      events.onHead(Number(h[':status']), flatten(h), end)
    })
    stream.on('trailers', (h) => {
      trailers = flatten(h)
    })
    stream.on('data', (data: Buffer) => events.onData(data))
    stream.on('drain', () => events.onDrain())
    stream.on('end', () => {
      // Trailers may come with the last frame: wait for the stream to close.
      if (!headSeen) return
      setImmediate(() => {
        if (settled) return
        settled = true
        events.onEnd(trailers)
      })
    })
    stream.on('error', (error) => fail(session.connecting || !session.socket ? 'connect' : 'reset', error.message))
    stream.on('close', () => {
      if (headSeen && stream.rstCode === 0) {
        if (!settled) {
          settled = true
          events.onEnd(trailers)
        }
      } else fail('reset', `stream closed with code ${stream.rstCode}`)
    })
    return {
      write: (chunk) => stream.write(chunk),
      end: (t) => {
        if (t?.length) stream.once('wantTrailers', () => stream.sendTrailers(toHeaders(t)))
        stream.end()
      },
      cancel: () => {
        settled = true
        stream.close(http2.constants.NGHTTP2_CANCEL)
      },
      pause: () => stream.pause(),
      resume: () => stream.resume(),
    }
  }

  #open(address: string, host: string, port: number, connectTimeout: number): http2.ClientHttp2Session {
    const socket = connect({ host, port, noDelay: true })
    const session = http2.connect(`http://${address}`, {
      createConnection: () => socket,
      settings: { initialWindowSize: 1024 * 1024 },
    })
    this.onConnection()
    const timer = setTimeout(() => session.destroy(new Error('connection timeout')), connectTimeout)
    const forget = () => {
      clearTimeout(timer)
      if (this.#sessions.get(address) === session) this.#sessions.delete(address)
    }
    session.on('connect', () => clearTimeout(timer))
    session.on('error', forget)
    session.on('close', forget)
    session.on('goaway', forget)
    session.setTimeout(IDLE_MS, () => session.close())
    this.#sessions.set(address, session)
    return session
  }
}

function addFields(headers: http2.OutgoingHttpHeaders, fields: readonly string[]): void {
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!
    const before = headers[name]
    if (before === undefined) headers[name] = fields[i + 1]!
    else headers[name] = Array.isArray(before) ? [...before, fields[i + 1]!] : [String(before), fields[i + 1]!]
  }
}

/** Headers as alternating names and values, without pseudo-headers. */
export function flatten(headers: http2.IncomingHttpHeaders): string[] {
  const fields: string[] = []
  for (const name in headers) {
    if (name.charCodeAt(0) === 58) continue
    const value = headers[name]
    if (Array.isArray(value)) for (const v of value) fields.push(name, v)
    else if (value !== undefined) fields.push(name, String(value))
  }
  return fields
}

/** Alternating names and values as headers. */
export function toHeaders(fields: readonly string[]): http2.OutgoingHttpHeaders {
  const headers: http2.OutgoingHttpHeaders = {}
  addFields(headers, fields)
  return headers
}
