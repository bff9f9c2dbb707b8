// HTTP/1.1 messages on raw bytes, strict by RFC 9112. Hot path; bench/proxy measures it.
//
//   head -> (none | length | chunk-size -> chunk-data -> chunk-end ... -> trailers | until-close) -> done

import { SampanError } from '#base'

/** A message that breaks the rules; `status` is what a server answers. */
export class H1Error extends SampanError {
  readonly status: number

  constructor(status: number, message: string) {
    super('H1Error', message)
    this.status = status
  }
}

/** The first line and the fields of a message. */
export interface H1Head {
  method: string
  target: string
  status: number
  /** What follows "HTTP/1.". */
  minor: number
  /**
   * End-to-end fields, names in lower case and values by turns. Those of the connection and of its framing are
   * not among them, nor are those that the connection field names (RFC 9110, 7.6.1); content-length is.
   */
  fields: string[]
  /** The one host field of a request. */
  host: string | undefined
  /** The connection field in lower case, "" without one. */
  connection: string
  upgrade: string | undefined
  /** Whether the client waits for "100 Continue". */
  expect: boolean
  /** The body's length, -1 when it is not told. */
  length: number
  chunked: boolean
  /** The te field asks for trailers. */
  trailers: boolean
  /** Seconds after which the peer closes an idle connection, as its keep-alive field tells; -1 when it does not. */
  keepAlive: number
}

/** Receives a message in parts. Buffers are its own: nobody writes into them later. */
export interface H1Sink {
  /** `hasBody` is false when the message ends with its head. */
  onHead(head: H1Head, hasBody: boolean): void
  onData(data: Buffer): void
  onEnd(trailers: string[] | undefined): void
}

/** Bytes of a head or of trailers at most (Envoy's max_request_headers_kb). */
const MAX_HEAD = 60 * 1024
/** Fields of a head at most (Envoy's max_headers_count). */
const MAX_FIELDS = 100
/** Bytes of a line with a chunk's size at most, its extensions included. */
const MAX_CHUNK_LINE = 1024
/** Bytes of all chunk extensions of a message at most. */
const MAX_EXTENSIONS = 16 * 1024
const CRLF2 = Buffer.from('\r\n\r\n')
const EMPTY = Buffer.alloc(0)
const LF = 10
const CR = 13

/** What a character may be part of. */
const TOKEN = 1
const UPPER = 2
const VALUE = 4
const TARGET = 8
const KINDS = new Uint8Array(256)
for (const c of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
  KINDS[c.charCodeAt(0)]! |= TOKEN
for (let c = 65; c <= 90; c++) KINDS[c]! |= UPPER
for (let c = 32; c < 256; c++) if (c !== 127) KINDS[c]! |= VALUE
KINDS[9]! |= VALUE
for (let c = 33; c < 127; c++) KINDS[c]! |= TARGET

const State = {
  head: 0,
  length: 1,
  chunkSize: 2,
  chunkData: 3,
  chunkEnd: 4,
  trailers: 5,
  untilClose: 6,
  done: 7,
  tunnel: 8,
} as const

/** Parses requests or responses of one connection, one message at a time: after `onEnd` it waits for `next()`. */
export class H1Parser {
  readonly #request: boolean
  readonly #sink: H1Sink
  #state: number = State.head
  #buffer: Buffer = EMPTY
  /** How much of the buffer has been looked through for the end of a head. */
  #seen = 0
  #left = 0
  #extensions = 0
  /** The method that a response answers: HEAD has no body. */
  #answered = ''
  #pushing = false

  constructor(kind: 'request' | 'response', sink: H1Sink) {
    this.#request = kind === 'request'
    this.#sink = sink
  }

  /** True between messages, with nothing of the next one here. */
  get idle(): boolean {
    return (this.#state === State.head || this.#state === State.done) && this.#buffer.length === 0
  }

  /** Bytes received beyond what has been parsed. */
  takeRest(): Buffer {
    const rest = this.#buffer
    this.#buffer = EMPTY
    this.#seen = 0
    return rest
  }

  /** Begins the next message; for responses, says what it answers. Parses what is already here. Fails with H1Error. */
  next(answered = ''): void {
    this.#answered = answered
    this.#state = State.head
    // From within push, its loop goes on.
    if (this.#buffer.length > 0 && !this.#pushing) this.push(EMPTY)
  }

  /** From here on bytes are passed on as they are. */
  tunnel(): void {
    this.#state = State.tunnel
  }

  /** The connection has ended. Fails with H1Error in the middle of a message. */
  finish(): void {
    if (this.#state === State.untilClose) {
      this.#state = State.done
      this.#sink.onEnd(undefined)
    } else if (
      this.#state !== State.done &&
      this.#state !== State.tunnel &&
      !(this.#state === State.head && this.#buffer.length === 0)
    )
      throw new H1Error(400, 'Cannot read a message: the connection ended in the middle of it')
  }

  /** Takes bytes. Fails with H1Error. */
  push(data: Buffer): void {
    this.#buffer =
      this.#buffer.length === 0 ? data : data.length === 0 ? this.#buffer : Buffer.concat([this.#buffer, data])
    this.#pushing = true
    try {
      while (this.#buffer.length > 0 && this.#step());
    } finally {
      this.#pushing = false
    }
  }

  /** Takes one part off the buffer; false when more bytes, or the next message, are needed first. */
  #step(): boolean {
    const buffer = this.#buffer
    switch (this.#state) {
      case State.head: {
        // An empty line before a request is passed over (RFC 9112, 2.2).
        if (this.#request && buffer[0] === CR && this.#seen === 0) {
          if (buffer.length < 2) return false
          if (buffer[1] !== LF) throw new H1Error(400, 'Cannot read a request: a bare CR')
          this.#buffer = buffer.subarray(2)
          return true
        }
        const end = this.#findEnd(buffer)
        if (end < 0) return false
        this.#buffer = buffer.subarray(end + 4)
        this.#onHead(buffer.toString('latin1', 0, end))
        return true
      }
      case State.length: {
        const part = this.#take()
        this.#sink.onData(part)
        if (this.#left === 0 && this.#state === State.length) this.#end(undefined)
        return true
      }
      case State.chunkSize: {
        const end = buffer.indexOf(LF)
        if (end < 0) {
          if (buffer.length > MAX_CHUNK_LINE) throw new H1Error(400, 'Cannot read a message: a chunk size is too long')
          return false
        }
        this.#left = this.#chunkSize(buffer, end)
        this.#buffer = buffer.subarray(end + 1)
        this.#state = this.#left === 0 ? State.trailers : State.chunkData
        return true
      }
      case State.chunkData: {
        const part = this.#take()
        if (this.#left === 0) this.#state = State.chunkEnd
        this.#sink.onData(part)
        return true
      }
      case State.chunkEnd:
        if (buffer.length < 2) return false
        if (buffer[0] !== CR || buffer[1] !== LF)
          throw new H1Error(400, 'Cannot read a message: a chunk is longer than its size')
        this.#buffer = buffer.subarray(2)
        this.#state = State.chunkSize
        return true
      case State.trailers: {
        if (buffer[0] === CR && this.#seen === 0) {
          if (buffer.length < 2) return false
          if (buffer[1] !== LF) throw new H1Error(400, 'Cannot read a message: bad trailer')
          this.#buffer = buffer.subarray(2)
          this.#end(undefined)
          return true
        }
        const end = this.#findEnd(buffer)
        if (end < 0) return false
        this.#buffer = buffer.subarray(end + 4)
        const head = emptyHead()
        parseFields(buffer.toString('latin1', 0, end), 0, head)
        this.#end(head.fields.length > 0 ? head.fields : undefined)
        return true
      }
      case State.untilClose:
      case State.tunnel:
        this.#buffer = EMPTY
        this.#sink.onData(buffer)
        return true
      default:
        return false
    }
  }

  #take(): Buffer {
    const buffer = this.#buffer
    const part = buffer.length > this.#left ? buffer.subarray(0, this.#left) : buffer
    this.#buffer = part.length === buffer.length ? EMPTY : buffer.subarray(part.length)
    this.#left -= part.length
    return part
  }

  /** Where the empty line begins, -1 while it is not here. */
  #findEnd(buffer: Buffer): number {
    const from = this.#seen > 3 ? this.#seen - 3 : 0
    const end = buffer.indexOf(CRLF2, from)
    if (end >= 0 && end <= MAX_HEAD) {
      this.#seen = 0
      return end
    }
    if (end > MAX_HEAD || buffer.length > MAX_HEAD)
      throw new H1Error(431, 'Cannot read a message: its head is too large')
    // A head of bare line feeds would never end.
    for (let at = buffer.indexOf(LF, from); at >= 0; at = buffer.indexOf(LF, at + 1))
      if (at === 0 || buffer[at - 1] !== CR) throw new H1Error(400, 'Cannot read a message: a bare LF')
    this.#seen = buffer.length
    return -1
  }

  /** The size that a line tells: 1 to 15 hexadecimal digits, then nothing or extensions. */
  #chunkSize(buffer: Buffer, end: number): number {
    const bad = () => new H1Error(400, 'Cannot read a message: bad chunk size')
    if (end < 2 || end > MAX_CHUNK_LINE || buffer[end - 1] !== CR) throw bad()
    let size = 0
    let at = 0
    for (; at < end - 1; at++) {
      const c = buffer[at]!
      const digit = c >= 48 && c <= 57 ? c - 48 : c >= 97 && c <= 102 ? c - 87 : c >= 65 && c <= 70 ? c - 55 : -1
      if (digit < 0) break
      if (at >= 15 || size > 2 ** 48) throw bad()
      size = size * 16 + digit
    }
    if (at === 0) throw bad()
    if (at < end - 1) {
      if (buffer[at] !== 59) throw bad()
      this.#extensions += end - at
      if (this.#extensions > MAX_EXTENSIONS) throw new H1Error(400, 'Cannot read a message: too many chunk extensions')
      for (; at < end - 1; at++) if (!(KINDS[buffer[at]!]! & VALUE)) throw bad()
    }
    return size
  }

  #end(trailers: string[] | undefined): void {
    this.#state = State.done
    this.#sink.onEnd(trailers)
  }

  #onHead(text: string): void {
    const head = emptyHead()
    const line = text.indexOf('\r\n')
    const first = line < 0 ? text.length : line
    if (this.#request) requestLine(text, first, head)
    else statusLine(text, first, head)
    if (line >= 0) parseFields(text, line + 2, head)
    const framing = this.#framing(head)
    this.#state = framing
    this.#extensions = 0
    if (framing === State.done) {
      this.#sink.onHead(head, false)
      // An upgrade may have turned the connection into a tunnel meanwhile.
      if (this.#state === State.done) this.#sink.onEnd(undefined)
    } else this.#sink.onHead(head, true)
  }

  /** How the body is delimited (RFC 9112, 6.3). */
  #framing(head: H1Head): number {
    const { status } = head
    if (head.chunked && (head.length >= 0 || head.minor === 0))
      throw new H1Error(400, 'Cannot read a message: transfer-encoding with content-length or in HTTP/1.0')
    if (!this.#request && (this.#answered === 'HEAD' || status === 204 || status === 304 || status < 200))
      return State.done
    if (head.chunked) return State.chunkSize
    if (head.length >= 0) {
      this.#left = head.length
      return head.length === 0 ? State.done : State.length
    }
    return this.#request ? State.done : State.untilClose
  }
}

const emptyHead = (): H1Head => ({
  method: '',
  target: '',
  status: 0,
  minor: 1,
  fields: [],
  host: undefined,
  connection: '',
  upgrade: undefined,
  expect: false,
  length: -1,
  chunked: false,
  trailers: false,
  keepAlive: -1,
})

/** "HTTP/1." before a digit, at a place. */
function minorAt(text: string, at: number): number {
  if (!text.startsWith('HTTP/1.', at)) return -1
  const digit = text.charCodeAt(at + 7) - 48
  return digit === 0 || digit === 1 ? digit : -1
}

function requestLine(text: string, end: number, head: H1Head): void {
  const bad = () => new H1Error(400, 'Cannot read a request: bad request line')
  let at = 0
  while (at < end && KINDS[text.charCodeAt(at)]! & TOKEN) at++
  if (at === 0 || text.charCodeAt(at) !== 32) throw bad()
  head.method = text.slice(0, at)
  const from = ++at
  while (at < end && KINDS[text.charCodeAt(at)]! & TARGET) at++
  if (at === from || text.charCodeAt(at) !== 32) throw bad()
  head.target = text.slice(from, at)
  head.minor = minorAt(text, at + 1)
  if (head.minor < 0 && /^HTTP\/\d\.\d$/.test(text.slice(at + 1, end)))
    throw new H1Error(505, 'Cannot read a request: its version is not supported')
  if (head.minor < 0 || at + 9 !== end) throw bad()
}

function statusLine(text: string, end: number, head: H1Head): void {
  const bad = () => new H1Error(502, 'Cannot read a response: bad status line')
  head.minor = minorAt(text, 0)
  const status = text.slice(9, 12)
  if (head.minor < 0 || text.charCodeAt(8) !== 32 || !/^[1-9]\d\d$/.test(status)) throw bad()
  if (end > 12 && text.charCodeAt(12) !== 32) throw bad()
  for (let i = 12; i < end; i++) if (!(KINDS[text.charCodeAt(i)]! & VALUE)) throw bad()
  head.status = Number(status)
}

/** Names that come again and again, as the one string that others are compared with. */
const NAMES = new Map<string, string>()
const KNOWN =
  'host connection content-length content-type transfer-encoding upgrade expect te trailer keep-alive accept accept-encoding accept-language user-agent cookie authorization cache-control date server location set-cookie etag last-modified vary x-request-id x-forwarded-for x-forwarded-proto x-envoy-peer-metadata x-envoy-peer-metadata-id x-envoy-attempt-count x-envoy-upstream-service-time traceparent tracestate x-b3-traceid x-b3-spanid x-b3-sampled end-user referer origin grpc-status grpc-message'
for (const name of KNOWN.split(' ')) {
  NAMES.set(name, name)
  // As most write them.
  NAMES.set(
    name.replace(/(^|-)[a-z]/g, (s) => s.toUpperCase()),
    name,
  )
}

/** Fields until the end of the text. Fails with H1Error. */
function parseFields(text: string, from: number, head: H1Head): void {
  const { fields } = head
  const { length } = text
  let count = 0
  let nominated = false
  for (let at = from; at < length; ) {
    if (++count > MAX_FIELDS) throw new H1Error(431, 'Cannot read a message: too many fields')
    const begin = at
    let kinds = 0
    for (let kind = 0; (kind = KINDS[text.charCodeAt(at)]!) & TOKEN; at++) kinds |= kind
    // White space before the colon, folded lines and control characters smuggle requests.
    if (at === begin || text.charCodeAt(at) !== 58) throw new H1Error(400, 'Cannot read a message: bad field name')
    const written = text.slice(begin, at)
    const name = NAMES.get(written) ?? (kinds & UPPER ? written.toLowerCase() : written)
    at++
    while (text.charCodeAt(at) === 32 || text.charCodeAt(at) === 9) at++
    const valueAt = at
    while (at < length && KINDS[text.charCodeAt(at)]! & VALUE) at++
    let valueEnd = at
    if (at < length && (text.charCodeAt(at) !== CR || text.charCodeAt(at + 1) !== LF))
      throw new H1Error(400, 'Cannot read a message: bad field value')
    at += 2
    while (valueEnd > valueAt && (text.charCodeAt(valueEnd - 1) === 32 || text.charCodeAt(valueEnd - 1) === 9))
      valueEnd--
    const value = text.slice(valueAt, valueEnd)
    switch (name) {
      case 'host':
        if (head.host !== undefined) throw new H1Error(400, 'Cannot read a message: more than one host')
        head.host = value
        break
      case 'content-length':
        if (head.length >= 0 || !/^\d{1,15}$/.test(value))
          throw new H1Error(400, 'Cannot read a message: bad content-length')
        head.length = Number(value)
        fields.push(name, value)
        break
      case 'transfer-encoding':
        if (head.chunked) throw new H1Error(400, 'Cannot read a message: more than one transfer-encoding')
        if (value === '') throw new H1Error(400, 'Cannot read a message: an empty transfer-encoding')
        if (value.toLowerCase() !== 'chunked')
          throw new H1Error(501, `Cannot read a message: transfer-encoding ${JSON.stringify(value)} is not supported`)
        head.chunked = true
        break
      case 'connection':
        head.connection = head.connection ? `${head.connection},${value.toLowerCase()}` : value.toLowerCase()
        nominated ||= !USUAL.has(head.connection)
        break
      case 'upgrade':
        head.upgrade = head.upgrade === undefined ? value : `${head.upgrade},${value}`
        break
      case 'expect':
        head.expect = value.toLowerCase() === '100-continue'
        break
      case 'te':
        head.trailers = value.toLowerCase().includes('trailers')
        break
      case 'keep-alive':
        head.keepAlive = Number(/(?:^|[ ,])timeout=(\d{1,6})/.exec(value)?.[1] ?? -1)
        break
      case 'proxy-connection':
      case 'http2-settings':
      case 'trailer':
        break
      default:
        fields.push(name, value)
    }
  }
  if (nominated) dropNominated(head)
}

const USUAL = new Set(['', 'close', 'keep-alive', 'upgrade', 'te', 'keep-alive, upgrade', 'upgrade, keep-alive'])
const OF_CONNECTION = new Set(['', 'close', 'keep-alive', 'upgrade', 'te', 'http2-settings', 'transfer-encoding'])

/** Removes the fields that the connection field names; those that tell who asks must not be taken off that way. */
function dropNominated(head: H1Head): void {
  for (const part of head.connection.split(',')) {
    const name = part.trim()
    if (OF_CONNECTION.has(name)) continue
    if (name === 'host' || name === 'content-length' || name.startsWith('x-forwarded-') || name.startsWith(':'))
      throw new H1Error(400, `Cannot read a message: the connection field names ${name}`)
    for (let i = head.fields.length - 2; i >= 0; i -= 2) if (head.fields[i] === name) head.fields.splice(i, 2)
  }
}

/** Whether a comma-separated field in lower case has a value. */
export function hasToken(list: string, token: string): boolean {
  return list === token || (list.includes(token) && list.split(',').some((part) => part.trim() === token))
}

/** Whether a text may be a field's value; anything else would end the field or the message. */
export function isFieldValue(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 255 || !(KINDS[code]! & VALUE)) return false
  }
  return true
}

/** Whether a text is a token in lower case: a field's name in HTTP/2. */
export function isFieldName(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 255 || (KINDS[code]! & (TOKEN | UPPER)) !== TOKEN) return false
  }
  return text.length > 0
}

/** Whether a text may be a method. */
export function isToken(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 255 || !(KINDS[code]! & TOKEN)) return false
  }
  return text.length > 0
}

/** Whether a text may be a request's target. */
export function isTarget(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 255 || !(KINDS[code]! & TARGET)) return false
  }
  return text.length > 0
}

/** Writes fields and the empty line behind them. */
export function writeFields(fields: readonly string[]): string {
  let text = ''
  for (let i = 0; i < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`
  return `${text}\r\n`
}
