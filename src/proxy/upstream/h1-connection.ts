// One HTTP/1.1 connection to a host: requests one after the other. Hot path; bench/proxy measures it.

import type { Socket } from 'node:net'
import {
  type H1Head,
  H1Parser,
  type H1Sink,
  hasToken,
  Output,
  readBytes,
  writeChunk,
  writeLastChunk,
  writeProxyLine,
} from '#wire'
import type { HttpRequest, Upstream, UpstreamEvents, UpstreamFailure } from '../http/request.ts'
import { failureText } from './failure-text.ts'
import type { H1Pool } from './h1-pool.ts'
import type { Host } from './host.ts'

/** Methods of requests that have no body: without one, the others say that its length is 0 (RFC 9110, 8.6). */
const BODILESS = new Set(['GET', 'HEAD', 'DELETE', 'TRACE', 'CONNECT'])

export class H1Connection implements Upstream, H1Sink {
  readonly host: Host
  readonly socket: Socket
  readonly #pool: H1Pool
  readonly #output: Output
  readonly #parser: H1Parser
  readonly #born = performance.now()
  /** The host's when it was made. */
  readonly epoch: number
  /** Requests it has begun. */
  served = 0
  /** When it became idle. */
  idleSince = 0
  /** Until when the server keeps it open, as far as it says so. */
  idleUntil = Number.POSITIVE_INFINITY
  #events: UpstreamEvents | undefined
  #chunked = false
  #keepAlive = true
  #requestDone = true
  #responseDone = true
  #tunnel = false
  #usable = false
  #failed = false
  #failure: UpstreamFailure | undefined
  /** No final answer has come yet. */
  #interim = true
  #method = ''

  constructor(pool: H1Pool, host: Host, socket: Socket, usableEvent: string) {
    this.#pool = pool
    this.host = host
    this.epoch = host.epoch
    this.socket = socket
    this.#output = new Output(socket)
    this.#output.onDrain = () => this.#events?.onDrain()
    this.#parser = new H1Parser('response', this)
    socket.once(usableEvent, () => {
      this.#usable = true
      pool.connected(this)
    })
    readBytes(socket, (data) => this.#onBytes(data))
    socket.on('error', (error) => this.#fail(failureText(error)))
    socket.on('end', () => this.#onFin())
    socket.on('close', () => this.#fail('connection closed'))
  }

  get usable(): boolean {
    return this.#usable
  }

  get age(): number {
    return performance.now() - this.#born
  }

  get local(): string {
    const { localAddress, localPort } = this.socket
    return localAddress ? `${localAddress}:${localPort}` : ''
  }

  /** Whether another request may follow. */
  get reusable(): boolean {
    return !this.#failed && this.#keepAlive && !this.#tunnel && this.#parser.idle && !this.socket.destroyed
  }

  /** It takes too long to be made. */
  timeOut(): void {
    this.#failure = 'timeout'
    this.socket.destroy(new Error('connection timeout'))
  }

  /** Begins a request. */
  send(request: HttpRequest, events: UpstreamEvents): void {
    this.#events = events
    this.#requestDone = !request.hasBody
    this.#responseDone = false
    this.served++
    let text = `${request.method} ${request.path} HTTP/1.1\r\nhost: ${request.authority}\r\n`
    let length = false
    const { fields } = request
    for (let i = 0; i < fields.length; i += 2) {
      if (fields[i] === 'content-length') length = true
      text += `${fields[i]}: ${fields[i + 1]}\r\n`
    }
    const { proxyProtocol } = this.host.cluster.config
    if (proxyProtocol && request.ends) {
      // Who comes next is somebody else.
      this.#output.write(writeProxyLine(proxyProtocol, request.ends))
      this.#keepAlive = false
    }
    this.#chunked = request.hasBody && !length && !request.upgrade
    if (this.#chunked) text += 'transfer-encoding: chunked\r\n'
    if (request.upgrade) text += `connection: Upgrade\r\nupgrade: ${request.upgrade}\r\n`
    else {
      if (request.trailers) text += 'te: trailers\r\n'
      if (!request.hasBody && !length && !BODILESS.has(request.method)) text += 'content-length: 0\r\n'
    }
    this.#method = request.method
    this.#parser.next(request.method)
    this.#output.write(`${text}\r\n`)
  }

  write(chunk: Uint8Array): boolean {
    if (!this.#chunked || this.#tunnel) return this.#output.write(chunk)
    return writeChunk(this.#output, chunk)
  }

  end(trailers: readonly string[] | undefined): void {
    if (this.#tunnel) return this.#output.end()
    if (this.#chunked) writeLastChunk(this.#output, trailers)
    this.#requestDone = true
    this.#release()
  }

  cancel(): void {
    this.#events = undefined
    this.socket.destroy()
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  /** Ends politely; nothing is under way. */
  close(): void {
    this.#keepAlive = false
    this.#output.flush()
    this.socket.destroySoon()
  }

  onHead(head: H1Head, hasBody: boolean): void {
    const { status, connection } = head
    if (status === 101) {
      this.#tunnel = true
      this.#parser.tunnel()
      const { fields } = head
      if (head.upgrade !== undefined) fields.push('upgrade', head.upgrade)
      this.#events?.onHead(101, fields, false)
      return
    }
    // An interim answer is passed over; the real one follows.
    if (status < 200) return
    this.#keepAlive &&= head.minor === 1 ? !hasToken(connection, 'close') : hasToken(connection, 'keep-alive')
    if (head.keepAlive >= 0) this.idleUntil = head.keepAlive * 1000
    this.#events?.onHead(status, head.fields, !hasBody)
    this.#interim = false
  }

  onData(data: Buffer): void {
    this.#events?.onData(data)
  }

  onEnd(trailers: string[] | undefined): void {
    if (this.#tunnel) return
    if (this.#interim) {
      // It was an interim one.
      this.#parser.next(this.#method)
      return
    }
    this.#interim = true
    const events = this.#events
    this.#responseDone = true
    this.#events = undefined
    if (this.#requestDone) {
      this.#release()
      events?.onEnd(trailers)
      return
    }
    // A response before the request is complete: the rest of the request goes nowhere.
    this.#keepAlive = false
    events?.onEnd(trailers)
    this.socket.destroy()
  }

  #onBytes(data: Buffer): void {
    // Bytes nobody asked for are no answer to the next request.
    if (!this.#events && this.#responseDone && !this.#tunnel) {
      this.socket.destroy()
      return
    }
    try {
      this.#parser.push(data)
    } catch (error) {
      this.#failure = 'protocol'
      this.#fail((error as Error).message)
    }
  }

  #onFin(): void {
    try {
      if (this.#tunnel) {
        const events = this.#events
        events?.onEnd(undefined)
      } else {
        this.#keepAlive = false
        this.#parser.finish()
      }
    } catch {
      // Reported by close.
    }
  }

  #release(): void {
    if (!this.#requestDone || !this.#responseDone) return
    if (this.socket.isPaused()) this.socket.resume()
    this.#pool.released(this)
  }

  #fail(reason: string): void {
    if (this.#failed) return
    this.#failed = true
    const events = this.#events
    this.#events = undefined
    this.socket.destroy()
    // What ends in the middle of an answer breaks the protocol; without a word it is only gone.
    const partial = !this.#tunnel && !this.#parser.idle
    const kind = this.#failure ?? (partial ? 'protocol' : this.#usable ? 'reset' : 'connect')
    this.#pool.ended(this, this.#usable, kind, reason)
    events?.onError(kind, reason, this.served > 1)
  }
}
