// HTTP/1.1 to servers: a pool of keep-alive connections an address.

import { connect, type Socket } from 'node:net'
import { H1Parser, writeHead } from '#wire'
import { endToEnd, fieldOf, type HttpRequest, type Upstream, type UpstreamEvents } from './http.ts'

const IDLE_MS = 60_000
const IDLE_PER_ADDRESS = 64
const CRLF = Buffer.from('\r\n')
const LAST_CHUNK = Buffer.from('0\r\n\r\n')

class Connection {
  readonly socket: Socket
  readonly parser: H1Parser
  readonly pool: H1Pool
  readonly address: string
  served = 0
  events: UpstreamEvents | undefined
  #keepAlive = true
  #requestDone = false
  #responseDone = false
  #tunnel = false
  #connected = false
  idleTimer: NodeJS.Timeout | undefined

  constructor(pool: H1Pool, address: string, host: string, port: number, timeoutMs: number) {
    this.pool = pool
    this.address = address
    this.socket = connect({ host, port, noDelay: true })
    const timer = setTimeout(() => this.socket.destroy(new Error('connection timeout')), timeoutMs)
    this.parser = new H1Parser('response', {
      onHead: (head, hasBody) => {
        const connection = fieldOf(head.fields, 'connection')?.toLowerCase()
        if (head.status === 101) {
          this.#tunnel = true
          this.parser.tunnel()
          this.events?.onHead(101, head.fields, false)
          return
        }
        if (head.status < 200) return this.parser.next()
        this.#keepAlive = head.minor === 1 ? connection !== 'close' : connection === 'keep-alive'
        this.events?.onHead(head.status, endToEnd(head.fields), !hasBody)
      },
      onData: (data) => this.events?.onData(data),
      onEnd: (trailers) => this.#onEnd(trailers),
    })
    this.socket.on('connect', () => {
      this.#connected = true
      clearTimeout(timer)
    })
    this.socket.on('data', (data: Buffer) => {
      // Bytes nobody asked for are no answer to the next request.
      if (!this.events && !this.#tunnel) return this.#fail('reset', 'bytes after the end of a response')
      try {
        this.parser.push(data)
      } catch (error) {
        this.#fail('reset', (error as Error).message)
      }
    })
    this.socket.on('drain', () => this.events?.onDrain())
    this.socket.on('error', (error) => this.#fail(this.#connected ? 'reset' : 'connect', error.message))
    this.socket.on('end', () => {
      try {
        if (this.#tunnel) this.events?.onEnd(undefined)
        else this.parser.finish()
      } catch {
        // Reported by close.
      }
    })
    this.socket.on('close', () => {
      clearTimeout(timer)
      this.#fail(this.#connected ? 'reset' : 'connect', 'connection closed')
    })
  }

  send(request: HttpRequest, fields: readonly string[], chunked: boolean, events: UpstreamEvents): Upstream {
    this.events = events
    this.#requestDone = !request.hasBody
    this.#responseDone = false
    clearTimeout(this.idleTimer)
    this.parser.next(request.method)
    this.socket.write(writeHead(`${request.method} ${request.path} HTTP/1.1`, fields), 'latin1')
    return {
      write: (chunk) => {
        if (!chunked || this.#tunnel) return this.socket.write(chunk)
        this.socket.cork()
        this.socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1')
        this.socket.write(chunk)
        const more = this.socket.write(CRLF)
        this.socket.uncork()
        return more
      },
      end: (trailers) => {
        if (this.#tunnel) {
          this.socket.end()
          return
        }
        if (chunked) this.socket.write(trailers?.length ? `0\r\n${writeHead('', trailers).slice(2)}` : LAST_CHUNK)
        this.#requestDone = true
        this.#release()
      },
      cancel: () => {
        this.events = undefined
        this.socket.destroy()
      },
      pause: () => this.socket.pause(),
      resume: () => this.socket.resume(),
    }
  }

  #onEnd(trailers: readonly string[] | undefined): void {
    if (this.#tunnel) return
    const { events } = this
    this.#responseDone = true
    this.events = undefined
    if (this.#requestDone) this.#release()
    // A response before the request is complete: the rest of the request goes nowhere.
    else this.#keepAlive = false
    events?.onEnd(trailers)
  }

  #release(): void {
    if (!this.#requestDone || !this.#responseDone) return
    this.served++
    this.socket.resume()
    if (this.#keepAlive && !this.socket.destroyed && this.parser.takeRest().length === 0) this.pool.keep(this)
    else this.socket.end()
  }

  #fail(kind: 'connect' | 'reset', reason: string): void {
    this.pool.forget(this)
    const { events } = this
    this.events = undefined
    this.socket.destroy()
    events?.onError(kind, reason, this.served > 0)
  }
}

/** Connections by address, the most recently used first. */
export class H1Pool {
  readonly #idle = new Map<string, Connection[]>()
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
    const idle = fresh ? undefined : this.#idle.get(address)?.pop()
    const upgrade = fieldOf(request.fields, 'upgrade')
    const lengthKnown = fieldOf(request.fields, 'content-length') !== undefined
    const chunked = request.hasBody && !lengthKnown
    const fields = [
      'host',
      request.authority,
      ...endToEnd(request.fields),
      ...extra,
      ...(chunked ? ['transfer-encoding', 'chunked'] : []),
      ...(upgrade ? ['connection', 'upgrade', 'upgrade', upgrade] : []),
    ]
    let connection = idle
    if (!connection) {
      connection = new Connection(this, address, host, port, connectTimeout)
      this.onConnection()
    }
    return connection.send(request, fields, chunked, events)
  }

  keep(connection: Connection): void {
    let list = this.#idle.get(connection.address)
    if (!list) {
      list = []
      this.#idle.set(connection.address, list)
    }
    if (list.length >= IDLE_PER_ADDRESS) {
      connection.socket.end()
      return
    }
    list.push(connection)
    connection.idleTimer = setTimeout(() => {
      this.forget(connection)
      connection.socket.end()
    }, IDLE_MS)
    connection.idleTimer.unref()
  }

  forget(connection: Connection): void {
    clearTimeout(connection.idleTimer)
    const list = this.#idle.get(connection.address)
    const i = list?.indexOf(connection) ?? -1
    if (i >= 0) list!.splice(i, 1)
  }
}
