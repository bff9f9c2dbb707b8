// HTTP/1.1 from clients: requests in turn, answers in the same order. Hot path; bench/proxy measures it.

import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import {
  H1Error,
  type H1Head,
  H1Parser,
  type H1Sink,
  hasToken,
  Output,
  readBytes,
  writeChunk,
  writeFields,
  writeLastChunk,
} from '#wire'
import type { HttpChain } from '../config/model.ts'
import { connectionInfo } from '../telemetry/stream-info.ts'
import type { ProxyContext } from './context.ts'
import { Exchange } from './exchange.ts'
import { httpDate } from './http-date.ts'
import { AUTHORITY, type Downstream, fieldOf, type HttpRequest } from './request.ts'
import type { Source } from './source.ts'

/** A head may take so long to come, from its first byte, milliseconds. */
const HEAD_MS = 60_000
/** A client that was answered before it had sent all is read for so long, lest the answer be lost to a reset. */
const LINGER_MS = 1000
/** A client that has ended its side waits for so long for a server that says nothing. */
const FIN_MS = 300_000
/** Bytes of later requests that may come while one is answered. */
const PIPELINED = 64 * 1024

/** Serves a connection until it ends. `first` is what has been read of it. */
export function serveH1(socket: Socket, first: Buffer, chain: HttpChain, context: ProxyContext, source: Source): void {
  new H1Server(socket, chain, context, source).start(first)
}

class H1Server implements Downstream, H1Sink {
  readonly #socket: Socket
  readonly #output: Output
  readonly #parser: H1Parser
  readonly #chain: HttpChain
  readonly #context: ProxyContext
  readonly #source: Source
  readonly #born = performance.now()
  #exchange: Exchange | undefined
  #head: H1Head | undefined
  #chunked = false
  #keepAlive = true
  #requestDone = true
  #responseDone = true
  #tunnel = false
  #lingering = false
  /** The client has ended its side. */
  #fin = false
  #finTimer: NodeJS.Timeout | undefined
  /** The answer has no body, whatever its server sends. */
  #bodiless = false
  #served = 0
  #timer: NodeJS.Timeout | undefined
  /** Runs while a part of a head is here. */
  #headTimer: NodeJS.Timeout | undefined

  constructor(socket: Socket, chain: HttpChain, context: ProxyContext, source: Source) {
    this.#socket = socket
    this.#chain = chain
    this.#context = context
    this.#source = source
    this.#output = new Output(socket)
    this.#output.onDrain = () => this.#exchange?.drained()
    this.#parser = new H1Parser('request', this)
  }

  start(first: Buffer): void {
    const socket = this.#socket
    socket.on('end', () => this.#onFin())
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      clearTimeout(this.#timer)
      clearTimeout(this.#finTimer)
      this.#headRead()
      this.#exchange?.cancel()
    })
    this.#wait()
    if (first.length > 0) this.#take(first)
    readBytes(socket, (data) => this.#take(data))
    socket.resume()
  }

  /** Between requests: the connection may stay for so long. */
  #wait(): void {
    const { idleTimeout } = this.#chain
    if (idleTimeout <= 0) return
    if (this.#timer) this.#timer.refresh()
    else
      this.#timer = setTimeout(() => {
        this.#timer = undefined
        if (this.#responseDone && this.#requestDone && !this.#headTimer) this.#socket.destroy()
        else this.#wait()
      }, idleTimeout).unref()
  }

  #take(data: Buffer): void {
    if (this.#lingering) return
    try {
      this.#parser.push(data)
    } catch (error) {
      this.#refuse(error)
      return
    }
    if (!this.#requestDone) return
    if (this.#responseDone) {
      if (!this.#parser.idle) this.#watchHead()
    } else if (!this.#tunnel && this.#parser.buffered >= PIPELINED) this.#socket.pause()
  }

  #watchHead(): void {
    this.#headTimer ??= setTimeout(() => this.#refuse(new H1Error(408, 'the head takes too long')), HEAD_MS).unref()
  }

  #headRead(): void {
    clearTimeout(this.#headTimer)
    this.#headTimer = undefined
  }

  /** What cannot be read ends the connection, after a word. */
  #refuse(error: unknown): void {
    if (this.#lingering) return
    this.#headRead()
    const { status, details } = error instanceof H1Error ? error : new H1Error(400, '')
    this.#context.stats.counters.protocolErrors++
    this.#keepAlive = false
    const exchange = this.#exchange
    const body = STATUS_CODES[status] ?? ''
    if (exchange) {
      // The body of a request whose head was read.
      if (exchange.responded) exchange.cancel()
      else exchange.reply({ status, flags: 'DPE', details, body })
      this.#exchange = undefined
    } else {
      const fields = ['content-length', String(body.length), 'content-type', 'text/plain', 'connection', 'close']
      fields.push('date', httpDate(), 'server', this.#chain.serverName)
      this.#output.write(`HTTP/1.1 ${status} ${body}\r\n${writeFields(fields)}${body}`)
      this.#log(status, 'DPE', details, body.length)
    }
    if (!this.#lingering) this.#linger()
  }

  /** Writes down what never became a request. */
  #log(status: number, flags: string, details: string, bytesSent: number): void {
    const { accessLogs } = this.#chain
    if (accessLogs.length === 0) return
    const info = {
      ...connectionInfo(this.#source, this.#context.stats.hostname),
      protocol: 'HTTP/1.1',
      status,
      flags,
      details,
      bytesSent,
    }
    for (const log of accessLogs) log.write(info)
  }

  /** Ends our side, and reads for a moment what the client still sends. */
  #linger(): void {
    this.#lingering = true
    this.#output.end()
    this.#socket.resume()
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref()
  }

  onHead(head: H1Head, hasBody: boolean): void {
    if (this.#headTimer) this.#headRead()
    this.#head = head
    this.#requestDone = !hasBody
    this.#responseDone = false
    this.#served++
    const { connection } = head
    this.#keepAlive = head.minor === 1 ? !hasToken(connection, 'close') : hasToken(connection, 'keep-alive')
    const { maxRequests, maxConnectionAge } = this.#chain
    if (maxRequests > 0 && this.#served >= maxRequests) this.#keepAlive = false
    if (maxConnectionAge > 0 && performance.now() - this.#born > maxConnectionAge) this.#keepAlive = false
    const request = toRequest(head, hasBody)
    const exchange = new Exchange(this.#context, this.#chain, request, this, this.#source)
    this.#exchange = exchange
    const problem = problemOf(head, request)
    if (problem) {
      this.#keepAlive = false
      exchange.reply({ status: 400, flags: '', details: problem, body: '' })
      return
    }
    if (head.expect && hasBody) this.#output.write('HTTP/1.1 100 Continue\r\n\r\n')
    exchange.begin()
  }

  onData(data: Buffer): void {
    this.#exchange?.data(data)
  }

  onEnd(trailers: string[] | undefined): void {
    this.#requestDone = true
    // One without a body was complete with its head; what is upgraded ends with its connection.
    if (this.#exchange?.request.hasBody) this.#exchange.end(trailers)
    this.#turn()
  }

  /** Both directions are over: the next request may come. */
  #turn(): void {
    if (!this.#responseDone || !this.#requestDone || this.#tunnel || this.#lingering) return
    this.#exchange = undefined
    if (!this.#keepAlive) return this.#output.end()
    if (this.#fin && this.#parser.idle) return this.#output.end()
    if (this.#socket.isPaused()) this.#socket.resume()
    this.#wait()
    try {
      this.#parser.next()
    } catch (error) {
      this.#refuse(error)
    }
  }

  respond(status: number, fields: readonly string[], end: boolean): void {
    const head = this.#head!
    if (status === 101) {
      this.#tunnel = true
      this.#parser.tunnel()
      this.#output.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n${writeFields(fields)}`)
      const rest = this.#parser.takeRest()
      if (rest.length > 0) this.#exchange?.data(rest)
      return
    }
    const noBody = end || head.method === 'HEAD' || status === 204 || status === 304
    const length = noBody && head.method !== 'HEAD' && status !== 304 ? undefined : fieldOf(fields, 'content-length')
    this.#bodiless = noBody
    this.#chunked = !noBody && length === undefined && head.minor === 1
    if (this.#context.draining || this.#context.config.retired.has(this.#chain)) this.#keepAlive = false
    let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}\r\n`
    let told = false
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!
      if (name === 'content-length') {
        // A body that does not come has no length; one that is not told twice.
        if (told || status === 204 || (end && head.method !== 'HEAD' && status !== 304 && fields[i + 1] !== '0'))
          continue
        told = true
      }
      text += `${name}: ${fields[i + 1]}\r\n`
    }
    if (this.#chunked) text += 'transfer-encoding: chunked\r\n'
    else if (!noBody && length === undefined) this.#keepAlive = false
    else if (end && !told && head.method !== 'HEAD' && status !== 204 && status !== 304) text += 'content-length: 0\r\n'
    // A request that was not read to its end, or is to be followed by something else, cannot be followed by another.
    if ((!this.#requestDone && end) || head.method === 'CONNECT') this.#keepAlive = false
    if (!this.#keepAlive) text += 'connection: close\r\n'
    else if (head.minor === 0) text += 'connection: keep-alive\r\n'
    this.#output.write(`${text}\r\n`)
  }

  data(chunk: Uint8Array): boolean {
    this.#finTimer?.refresh()
    if (this.#tunnel) return this.#output.write(chunk)
    if (this.#bodiless) return true
    return this.#chunked ? writeChunk(this.#output, chunk) : this.#output.write(chunk)
  }

  end(trailers: readonly string[] | undefined): void {
    if (this.#tunnel) return this.#output.end()
    if (this.#chunked) writeLastChunk(this.#output, trailers)
  }

  abort(): void {
    this.#output.flush()
    this.#socket.destroy()
  }

  pauseRequest(): void {
    this.#socket.pause()
  }

  resumeRequest(): void {
    if (!this.#lingering) this.#socket.resume()
  }

  finished(): void {
    this.#responseDone = true
    if (this.#tunnel) {
      this.#output.end()
      return
    }
    if (!this.#requestDone) {
      // An answer before the end of the request: the rest is not wanted.
      if (!this.#socket.destroyed) this.#linger()
      return
    }
    this.#turn()
  }

  #onFin(): void {
    this.#fin = true
    if (!this.#exchange && !this.#lingering && !this.#parser.idle) this.#log(0, 'DC', 'downstream_remote_disconnect', 0)
    if (this.#tunnel) this.#exchange?.end(undefined)
    else if (!this.#requestDone) {
      this.#exchange?.cancel()
      this.#socket.destroy()
    } else if (this.#responseDone) this.#output.end()
    else {
      this.#keepAlive = false
      this.#finTimer = setTimeout(() => this.#socket.destroy(), FIN_MS).unref()
    }
  }
}

const bad = (why: string, details = 'http1.codec_error') => new H1Error(400, `Cannot read a request: ${why}`, details)
const URL = 'http1.invalid_url'

/** What is wrong with a request that can be read all the same, by Envoy's name. */
function problemOf(head: H1Head, request: HttpRequest): string | undefined {
  if (head.host === undefined && head.minor === 1) return 'missing_host_header'
  return request.path.includes('#') ? 'path_normalization_failed' : undefined
}

/** A request out of its head. Fails with H1Error on what could be understood in two ways (RFC 9112, 3.2). */
function toRequest(head: H1Head, hasBody: boolean): HttpRequest {
  const { method, host } = head
  let { target } = head
  if (method === 'PRI') throw bad('PRI begins HTTP/2')
  let authority = host ?? ''
  if (method === 'CONNECT') {
    if (!AUTHORITY.test(target) || !/:\d+$/.test(target)) throw bad('CONNECT needs host and port', URL)
    authority = target
    target = '/'
  } else if (target === '*') {
    if (method !== 'OPTIONS') throw bad('only OPTIONS asks for "*"', URL)
  } else if (!target.startsWith('/')) {
    // The absolute form: what it names counts, not the host field.
    const m = /^(https?):\/\/([^/?#]+)([/?].*)?$/i.exec(target)
    if (!m) throw bad('bad target', URL)
    authority = m[2]!
    const rest = m[3] ?? '/'
    target = rest.startsWith('/') ? rest : `/${rest}`
  }
  if (!AUTHORITY.test(authority) || (host !== undefined && host !== authority && !AUTHORITY.test(host)))
    throw bad('bad host', 'http.invalid_authority')
  const wanted = head.upgrade?.toLowerCase() ?? ''
  const upgrade =
    method === 'CONNECT' ? 'connect' : wanted !== 'h2c' && hasToken(head.connection, 'upgrade') ? wanted : ''
  // What follows a request with a body would not be framed any more.
  if (upgrade && hasBody) throw bad('an upgrade with a body')
  return {
    method,
    path: target,
    authority,
    scheme: 'http',
    fields: head.fields,
    hasBody,
    protocol: head.minor === 1 ? 'HTTP/1.1' : 'HTTP/1.0',
    upgrade,
    trailers: head.trailers,
  }
}
