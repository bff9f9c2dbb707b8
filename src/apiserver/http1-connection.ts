// The short way for HTTP/1.1: requests that come in one piece and answers of a known length, without Node's streams. Whatever
// else a client sends on a connection, that connection goes on with Node's own server. bench/api measures it.

import type { IncomingHttpHeaders } from 'node:http'
import type { TLSSocket } from 'node:tls'

/** A body larger than this is read by Node's server, after its sender is known. */
const BODY = 64 * 1024
/** A head larger than this is judged by Node's server. */
const HEAD = 16 * 1024
const END_OF_HEAD = Buffer.from('\r\n\r\n')
const REQUEST_LINE = /^(GET|POST|PUT|PATCH|DELETE) (\/apis?\/[!-~]*) HTTP\/1\.1\r\n/
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** Field values without control characters. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
/** What is streamed, or may be: watches, logs, proxies, sessions. */
const STREAMED = /[?&](watch|follow)(=|&|$)|[?&][^=&]*[%+]|\/watch\/|\/(log|proxy|exec|attach|portforward)(\/|\?|$)/
/** Fields that change how a message or a connection is read. */
const UNUSUAL = ['transfer-encoding', 'upgrade', 'expect', 'connection', 'te', 'trailer']
/** How long a connection may do nothing, seconds. */
const KEEP_ALIVE_S = 120
/** How long a request may take to come, from its first byte, seconds. */
const REQUEST_S = 30
/** How long an answer may take to be read, seconds. */
const ANSWER_S = 900

const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  201: 'Created',
  202: 'Accepted',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  406: 'Not Acceptable',
  409: 'Conflict',
  410: 'Gone',
  413: 'Payload Too Large',
  415: 'Unsupported Media Type',
  422: 'Unprocessable Entity',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
}

/** A request that is here in one piece; what the verbs use of Node's IncomingMessage. */
export class WholeRequest {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly socket: TLSSocket
  readonly body: Buffer
  readonly httpVersion = '1.1'
  /** Only who acts as somebody else is looked for in them, and that is not done on this way. */
  readonly rawHeaders: readonly string[] = []

  constructor(method: string, url: string, headers: IncomingHttpHeaders, socket: TLSSocket, body: Buffer) {
    this.method = method
    this.url = url
    this.headers = headers
    this.socket = socket
    this.body = body
  }
}

type Listener = () => void

/** Where an answer goes: a connection. */
interface AnswerSink {
  /** A whole answer. */
  answer(head: string, body: Uint8Array | undefined): void
  /** The head of an answer whose body follows in pieces, as long as its Content-Length says. */
  begin(head: string): void
  /** A piece of the body; false when the reader is slow. */
  write(piece: Uint8Array): boolean
  finish(): void
  destroy(): void
}

/** An answer in one piece or, of a length said before, in several; what the verbs use of Node's ServerResponse. */
export class WholeResponse {
  readonly req: WholeRequest
  statusCode = 200
  headersSent = false
  writableEnded = false
  readonly writableLength = 0
  readonly #sink: AnswerSink
  #fields = ''
  #begun = false
  #closers: Listener[] = []

  constructor(req: WholeRequest, sink: AnswerSink) {
    this.req = req
    this.#sink = sink
  }

  get destroyed(): boolean {
    return this.req.socket.destroyed
  }

  setHeader(name: string, value: string | number): this {
    this.#fields += `${name}: ${value}\r\n`
    return this
  }

  appendHeader(name: string, value: string): this {
    return this.setHeader(name, value)
  }

  writeHead(status: number, fields: Readonly<Record<string, string | number>> = {}): this {
    this.statusCode = status
    this.headersSent = true
    for (const name in fields) this.#fields += `${name}: ${fields[name]}\r\n`
    return this
  }

  /** A piece of the body, whose length the head has said; false when the reader is slow: "drain" follows. */
  write(piece: Uint8Array): boolean {
    if (!this.#begun) {
      this.#begun = true
      this.headersSent = true
      this.#sink.begin(this.#head())
    }
    return this.#sink.write(piece)
  }

  end(body?: Uint8Array): this {
    if (this.writableEnded) return this
    this.writableEnded = true
    this.headersSent = true
    if (this.#begun) {
      if (body) this.#sink.write(body)
      this.#sink.finish()
    } else this.#sink.answer(this.#head(), body)
    this.closed()
    return this
  }

  destroy(): this {
    this.#sink.destroy()
    return this
  }

  on(event: string, listener: Listener): this {
    if (event === 'close') this.#closers.push(listener)
    else if (event === 'drain') this.req.socket.on('drain', listener)
    return this
  }

  off(event: string, listener: Listener): this {
    if (event === 'close') this.#closers = this.#closers.filter((l) => l !== listener)
    else if (event === 'drain') this.req.socket.off('drain', listener)
    return this
  }

  #head(): string {
    return `HTTP/1.1 ${this.statusCode} ${REASONS[this.statusCode] ?? 'OK'}\r\n${this.#fields}`
  }

  /** The answer is out, or its reader has gone. */
  closed(): void {
    const closers = this.#closers
    this.#closers = []
    for (const close of closers) close()
  }
}

export interface Http1Options {
  /** Answers a request. */
  serve(request: WholeRequest, response: WholeResponse): void
  /** Takes a connection over, with what was read of it pushed back. */
  handOver(socket: TLSSocket): void
  /** The connection is no longer here: closed or handed over. */
  onEnd(connection: Http1Connection): void
}

/** One connection, one request at a time; others wait in the socket. */
export class Http1Connection implements AnswerSink {
  readonly #socket: TLSSocket
  readonly #options: Http1Options
  #buffer: Buffer = EMPTY
  #response: WholeResponse | undefined
  /** The fields of the last request: a client's next ones are mostly the same. */
  #lastFields: string | undefined
  #lastHeaders: IncomingHttpHeaders = {}
  /** Seconds since the connection did something, as `tick` counts. */
  #idle = 0
  #closing = false

  constructor(socket: TLSSocket, options: Http1Options) {
    this.#socket = socket
    this.#options = options
    socket.on('data', this.#onData)
    socket.on('error', this.#onError)
    socket.on('close', this.#onClose)
  }

  /** Ends when nothing is under way, else after the answer. */
  close(): void {
    this.#closing = true
    if (!this.#response) this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** Called every few seconds: connections that do nothing, and requests that do not end, are closed. */
  tick(seconds: number): void {
    this.#idle += seconds
    const unread = this.#socket.writableLength > 0
    if (this.#response && !unread) return
    const limit = unread ? ANSWER_S : this.#buffer.length > 0 ? REQUEST_S : KEEP_ALIVE_S
    if (this.#idle > limit) this.#socket.destroy()
  }

  readonly #onData = (data: Buffer): void => {
    if (this.#buffer.length === 0) {
      this.#buffer = data
      this.#idle = 0
    } else this.#buffer = Buffer.concat([this.#buffer, data])
    if (this.#response) {
      // It speaks out of turn: the rest waits until the answer is out.
      this.#socket.pause()
      return
    }
    this.#parse()
  }

  readonly #onError = (): void => {
    this.#socket.destroy()
  }

  readonly #onClose = (): void => {
    this.#response?.closed()
    this.#response = undefined
    this.#options.onEnd(this)
  }

  #parse(): void {
    const buffer = this.#buffer
    const end = buffer.indexOf(END_OF_HEAD)
    if (end < 0) {
      // What does not begin as a request of ours need not be waited for.
      if (buffer.length > HEAD) this.#handOver()
      return
    }
    const text = buffer.toString('latin1', 0, end + 2)
    const line = REQUEST_LINE.exec(text)
    if (!line || STREAMED.test(line[2]!)) return this.#handOver()
    const headers = this.#headersOf(text.slice(line[0].length))
    if (!headers) return this.#handOver()
    const length = headers['content-length'] === undefined ? 0 : Number(headers['content-length'])
    if (!(length <= BODY)) return this.#handOver()
    const whole = end + END_OF_HEAD.length + length
    if (buffer.length < whole) return
    const body = length === 0 ? EMPTY : buffer.subarray(end + END_OF_HEAD.length, whole)
    this.#buffer = buffer.length === whole ? EMPTY : buffer.subarray(whole)
    const request = new WholeRequest(line[1]!, line[2]!, headers, this.#socket, body)
    const response = new WholeResponse(request, this)
    this.#response = response
    this.#options.serve(request, response)
  }

  /** The fields of a head, read once for all requests that have the same; undefined for what is not ours to judge. */
  #headersOf(fields: string): IncomingHttpHeaders | undefined {
    if (fields === this.#lastFields) return this.#lastHeaders
    const headers: Record<string, string> = {}
    for (let from = 0; from < fields.length; ) {
      const end = fields.indexOf('\r\n', from)
      const colon = fields.indexOf(':', from)
      if (colon <= from || colon > end) return undefined
      const name = fields.slice(from, colon).toLowerCase()
      const value = fields.slice(colon + 1, end).trim()
      if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value) || Object.hasOwn(headers, name)) return undefined
      // Who acts as somebody else may say several times as whom.
      if (name.startsWith('impersonate-')) return undefined
      if (UNUSUAL.includes(name) && !(name === 'connection' && value.toLowerCase() === 'keep-alive')) return undefined
      headers[name] = value
      from = end + 2
    }
    if (headers.host === undefined || !/^(\d{1,7})?$/.test(headers['content-length'] ?? '')) return undefined
    this.#lastFields = fields
    this.#lastHeaders = headers
    return headers
  }

  /** @internal */
  answer(head: string, body: Uint8Array | undefined): void {
    const text = this.#head(head)
    const length = body?.length ?? 0
    if (length < BODY) {
      // A short answer goes out in one piece.
      const out = Buffer.allocUnsafe(text.length + length)
      out.write(text, 0, 'latin1')
      if (body) out.set(body, text.length)
      this.#socket.write(out)
    } else {
      this.#socket.cork()
      this.#socket.write(text, 'latin1')
      this.#socket.write(body!)
      this.#socket.uncork()
    }
    this.finish()
  }

  /** @internal */
  begin(head: string): void {
    this.#socket.write(this.#head(head), 'latin1')
  }

  /** @internal */
  write(piece: Uint8Array): boolean {
    this.#idle = 0
    return this.#socket.write(piece)
  }

  /** @internal */
  finish(): void {
    this.#response = undefined
    this.#idle = 0
    if (this.#closing) {
      this.#socket.end()
      return
    }
    if (this.#buffer.length > 0) this.#later()
    else if (this.#socket.isPaused()) this.#socket.resume()
  }

  #head(head: string): string {
    return `${head}Date: ${httpDate()}\r\n${this.#closing ? 'Connection: close' : KEEP_ALIVE}\r\n\r\n`
  }

  /** Goes on with what is here already, not from within the verb that has just answered. */
  #later(): void {
    setImmediate(() => {
      if (this.#response || this.#socket.destroyed) return
      if (this.#socket.writableNeedDrain) {
        // Whoever does not read is not answered more.
        this.#socket.once('drain', () => this.#later())
        return
      }
      this.#parse()
      if (!this.#response && this.#socket.isPaused()) this.#socket.resume()
    })
  }

  /** Node's server goes on from the request that is not ours. */
  #handOver(): void {
    const socket = this.#socket
    socket.off('data', this.#onData)
    socket.off('error', this.#onError)
    socket.off('close', this.#onClose)
    socket.pause()
    if (this.#buffer.length > 0) socket.unshift(this.#buffer)
    this.#buffer = EMPTY
    this.#options.onEnd(this)
    this.#options.handOver(socket)
    socket.resume()
  }
}

const EMPTY = Buffer.alloc(0)
const KEEP_ALIVE = `Connection: keep-alive\r\nKeep-Alive: timeout=${KEEP_ALIVE_S}`

let dateSecond = 0
let dateText = ''

/** The time as HTTP writes it. */
function httpDate(): string {
  const second = Math.floor(Date.now() / 1000)
  if (second !== dateSecond) {
    dateSecond = second
    dateText = new Date(second * 1000).toUTCString()
  }
  return dateText
}
