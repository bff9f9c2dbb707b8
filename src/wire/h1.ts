// HTTP/1.1 messages on raw bytes, strict by RFC 9112. Hot path; bench/proxy measures it.
//
//   head -> (none | length | chunk-size -> chunk-data -> chunk-end ... -> trailers | until-close) -> done

import { emptyHead, H1Error, type H1Head, isToken, parseFields, requestLine, statusLine } from './h1-head.ts'

/** Receives a message in parts. Buffers are its own: nobody writes into them later. */
export interface H1Sink {
  /** `hasBody` is false when the message ends with its head. */
  onHead(head: H1Head, hasBody: boolean): void
  onData(data: Buffer): void
  onEnd(trailers: string[] | undefined): void
}

/** Bytes of a head or of trailers at most, of requests and of responses (Envoy's limits). */
const MAX_REQUEST_HEAD = 60 * 1024
const MAX_RESPONSE_HEAD = 80 * 1024
/** Bytes of a line with a chunk's size at most, its extensions included. */
const MAX_CHUNK_LINE = 1024
/** Extensions of a chunk: names, some with a value or a quoted one (RFC 9112, section 7.1.1). */
const EXTENSIONS =
  /^(?:;[ \t]*[!#$%&'*+\-.^_`|~\w]+(?:[ \t]*=[ \t]*(?:[!#$%&'*+\-.^_`|~\w]+|"(?:[\t !#-[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?[ \t]*)+$/
/** Bytes of all chunk extensions of a message at most. */
const MAX_EXTENSIONS = 16 * 1024
const CRLF2 = Buffer.from('\r\n\r\n')
const EMPTY = Buffer.alloc(0)
const LF = 10
const CR = 13

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

  /** How many bytes wait to be parsed. */
  get buffered(): number {
    return this.#buffer.length
  }

  /** Bytes received beyond what has been parsed. */
  takeRest(): Buffer {
    const rest = Buffer.from(this.#buffer)
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

  /** Takes bytes, which are the caller's again when it returns. Fails with H1Error. */
  push(data: Buffer): void {
    this.#buffer =
      this.#buffer.length === 0 ? data : data.length === 0 ? this.#buffer : Buffer.concat([this.#buffer, data])
    this.#pushing = true
    try {
      while (this.#buffer.length > 0 && this.#step());
    } finally {
      this.#pushing = false
      if (this.#buffer.length > 0 && this.#buffer.buffer === data.buffer) this.#buffer = Buffer.from(this.#buffer)
    }
  }

  /** Takes one part off the buffer; false when more bytes, or the next message, are needed first. */
  #step(): boolean {
    const buffer = this.#buffer
    switch (this.#state) {
      case State.head: {
        // An empty line before a request is passed over (RFC 9112, 2.2), and before a response, where some servers
        // have one too many.
        if (buffer[0] === CR && this.#seen === 0) {
          if (buffer.length < 2) return false
          if (buffer[1] !== LF) throw new H1Error(400, 'Cannot read a message: a bare CR')
          this.#buffer = buffer.subarray(2)
          return true
        }
        // What begins like no message at all is not waited for.
        if (this.#seen === 0 && !isToken(String.fromCharCode(buffer[0]!)))
          throw new H1Error(400, 'Cannot read a message: bad first line')
        const end = this.#findEnd(buffer)
        if (end < 0) return false
        this.#buffer = buffer.subarray(end + 4)
        this.#onHead(buffer.toString('latin1', 0, end))
        return true
      }
      case State.length: {
        this.#sink.onData(Buffer.from(this.#take()))
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
        this.#sink.onData(Buffer.from(part))
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
        this.#sink.onData(Buffer.from(buffer))
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
    const max = this.#request ? MAX_REQUEST_HEAD : MAX_RESPONSE_HEAD
    const from = this.#seen > 3 ? this.#seen - 3 : 0
    const end = buffer.indexOf(CRLF2, from)
    if (end >= 0 && end <= max) {
      this.#seen = 0
      return end
    }
    if (end > max || buffer.length > max)
      throw new H1Error(431, 'Cannot read a message: its head is too large', 'http1.headers_too_large')
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
      if (!EXTENSIONS.test(buffer.toString('latin1', at, end - 1))) throw bad()
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
      throw new H1Error(
        400,
        'Cannot read a message: transfer-encoding with content-length or in HTTP/1.0',
        'http1.content_length_and_chunked_not_allowed',
      )
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
