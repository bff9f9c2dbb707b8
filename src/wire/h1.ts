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

/** The first line and the fields of a message. Field names are lower case; `fields` alternates name and value. */
export interface H1Head {
  method: string
  target: string
  status: number
  minor: number
  fields: string[]
}

/** Receives a message in parts. */
export interface H1Sink {
  /** `hasBody` is false when the message ends with its head. */
  onHead(head: H1Head, hasBody: boolean): void
  onData(data: Buffer): void
  onEnd(trailers: string[] | undefined): void
}

const MAX_HEAD = 60 * 1024
const MAX_FIELDS = 100
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const CRLF2 = Buffer.from('\r\n\r\n')

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
  #left = 0
  /** The method that a response answers: HEAD has no body. */
  #answered = ''

  constructor(kind: 'request' | 'response', sink: H1Sink) {
    this.#request = kind === 'request'
    this.#sink = sink
  }

  /** True between messages. */
  get idle(): boolean {
    return (this.#state === State.head || this.#state === State.done) && this.#buffer.length === 0
  }

  /** Bytes received beyond what has been parsed. */
  takeRest(): Buffer {
    const rest = this.#buffer
    this.#buffer = EMPTY
    return rest
  }

  /** Begins the next message; for responses, says what it answers. Parses what is already here. */
  next(answered = ''): void {
    this.#answered = answered
    this.#state = State.head
    if (this.#buffer.length > 0) this.push(EMPTY)
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
    let buffer =
      this.#buffer.length === 0 ? data : data.length === 0 ? this.#buffer : Buffer.concat([this.#buffer, data])
    this.#buffer = EMPTY
    while (buffer.length > 0) {
      switch (this.#state) {
        case State.head: {
          const end = buffer.indexOf(CRLF2)
          if (end < 0 || end > MAX_HEAD) {
            if (buffer.length > MAX_HEAD) throw new H1Error(431, 'Cannot read a message: its head is too large')
            this.#buffer = buffer
            return
          }
          const head = buffer.toString('latin1', 0, end)
          buffer = buffer.subarray(end + 4)
          this.#onHead(head)
          break
        }
        case State.length: {
          const part = buffer.length > this.#left ? buffer.subarray(0, this.#left) : buffer
          buffer = buffer.subarray(part.length)
          this.#left -= part.length
          this.#sink.onData(part)
          if (this.#left === 0) this.#end(undefined)
          break
        }
        case State.chunkSize: {
          const end = buffer.indexOf('\r\n')
          if (end < 0) {
            if (buffer.length > 1024) throw new H1Error(400, 'Cannot read a message: a chunk size is too long')
            this.#buffer = buffer
            return
          }
          const m = /^([0-9a-fA-F]{1,12})[ \t]*(?:;[^\r\n]*)?$/.exec(buffer.toString('latin1', 0, end))
          if (!m) throw new H1Error(400, 'Cannot read a message: bad chunk size')
          this.#left = Number.parseInt(m[1]!, 16)
          buffer = buffer.subarray(end + 2)
          this.#state = this.#left === 0 ? State.trailers : State.chunkData
          break
        }
        case State.chunkData: {
          const part = buffer.length > this.#left ? buffer.subarray(0, this.#left) : buffer
          buffer = buffer.subarray(part.length)
          this.#left -= part.length
          this.#sink.onData(part)
          if (this.#left === 0) this.#state = State.chunkEnd
          break
        }
        case State.chunkEnd:
          if (buffer.length < 2) {
            this.#buffer = buffer
            return
          }
          if (buffer[0] !== 13 || buffer[1] !== 10)
            throw new H1Error(400, 'Cannot read a message: a chunk is longer than its size')
          buffer = buffer.subarray(2)
          this.#state = State.chunkSize
          break
        case State.trailers: {
          if (buffer[0] === 13 && buffer.length >= 2) {
            if (buffer[1] !== 10) throw new H1Error(400, 'Cannot read a message: bad trailer')
            buffer = buffer.subarray(2)
            this.#end(undefined)
            break
          }
          const end = buffer.indexOf(CRLF2)
          if (end < 0) {
            if (buffer.length > MAX_HEAD) throw new H1Error(431, 'Cannot read a message: its trailers are too large')
            this.#buffer = buffer
            return
          }
          const trailers = parseFields(buffer.toString('latin1', 0, end).split('\r\n'), 0)
          buffer = buffer.subarray(end + 4)
          this.#end(trailers)
          break
        }
        case State.untilClose:
        case State.tunnel:
          this.#sink.onData(buffer)
          return
        default:
          this.#buffer = buffer
          return
      }
    }
  }

  #end(trailers: string[] | undefined): void {
    this.#state = State.done
    this.#sink.onEnd(trailers)
  }

  #onHead(text: string): void {
    const lines = text.split('\r\n')
    const head = this.#request ? requestLine(lines[0]!) : statusLine(lines[0]!)
    head.fields = parseFields(lines, 1)
    const framing = this.#framing(head)
    this.#state = framing
    if (framing === State.done) {
      this.#sink.onHead(head, false)
      // An upgrade may have turned the connection into a tunnel meanwhile.
      if (this.#state === State.done) this.#sink.onEnd(undefined)
    } else this.#sink.onHead(head, true)
  }

  /** How the body is delimited (RFC 9112, 6.3). */
  #framing(head: H1Head): number {
    let length: string | undefined
    let encoding: string | undefined
    const { fields } = head
    for (let i = 0; i < fields.length; i += 2) {
      if (fields[i] === 'content-length') {
        const value = fields[i + 1]!
        if (!/^\d{1,15}$/.test(value) || (length !== undefined && length !== value))
          throw new H1Error(400, 'Cannot read a message: bad content-length')
        length = value
      } else if (fields[i] === 'transfer-encoding')
        encoding = encoding === undefined ? fields[i + 1]! : `${encoding},${fields[i + 1]}`
    }
    if (encoding !== undefined) {
      if (length !== undefined || head.minor === 0)
        throw new H1Error(400, 'Cannot read a message: transfer-encoding with content-length or HTTP/1.0')
      if (encoding.trim().toLowerCase() !== 'chunked')
        throw new H1Error(501, `Cannot read a message: transfer-encoding ${JSON.stringify(encoding)}`)
    }
    if (
      !this.#request &&
      (this.#answered === 'HEAD' ||
        head.status === 204 ||
        head.status === 304 ||
        (head.status >= 100 && head.status < 200))
    )
      return State.done
    if (encoding !== undefined) return State.chunkSize
    if (length !== undefined) {
      this.#left = Number(length)
      return this.#left === 0 ? State.done : State.length
    }
    return this.#request ? State.done : State.untilClose
  }
}

const EMPTY = Buffer.alloc(0)

function requestLine(line: string): H1Head {
  const m = /^(\S+) (\S+) HTTP\/1\.([01])$/.exec(line)
  if (!m || !/^[A-Z][A-Z-]*$/.test(m[1]!)) throw new H1Error(400, 'Cannot read a request: bad request line')
  return { method: m[1]!, target: m[2]!, status: 0, minor: Number(m[3]), fields: [] }
}

function statusLine(line: string): H1Head {
  const m = /^HTTP\/1\.([01]) (\d{3})(?: .*)?$/.exec(line)
  if (!m) throw new H1Error(502, 'Cannot read a response: bad status line')
  return { method: '', target: '', status: Number(m[2]), minor: Number(m[1]), fields: [] }
}

function parseFields(lines: readonly string[], from: number): string[] {
  if (lines.length - from > MAX_FIELDS) throw new H1Error(431, 'Cannot read a message: too many fields')
  const fields: string[] = []
  for (let i = from; i < lines.length; i++) {
    const line = lines[i]!
    const colon = line.indexOf(':')
    if (colon <= 0) throw new H1Error(400, 'Cannot read a message: bad field')
    const name = line.slice(0, colon)
    // White space before the colon, folded lines and control characters smuggle requests.
    if (!TOKEN.test(name)) throw new H1Error(400, 'Cannot read a message: bad field name')
    const value = line.slice(colon + 1).trim()
    for (let c = 0; c < value.length; c++) {
      const code = value.charCodeAt(c)
      if (code < 32 && code !== 9) throw new H1Error(400, 'Cannot read a message: bad field value')
    }
    fields.push(name.toLowerCase(), value)
  }
  return fields
}

/** Writes a head: first line, fields, empty line. */
export function writeHead(line: string, fields: readonly string[]): string {
  let text = `${line}\r\n`
  for (let i = 0; i < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`
  return `${text}\r\n`
}
