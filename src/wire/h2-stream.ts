// One stream of an HTTP/2 connection: a request and its response. Hot path; bench/proxy measures it.

import { isFieldName, isFieldValue } from './h1-head.ts'
import { H2Code } from './h2-frames.ts'
import type { H2Session } from './h2-session.ts'

/** Who listens to a stream. */
export interface H2StreamEvents {
  /** A response has come, 1xx among them (client only). Fields begin with ":status". */
  onHead?(fields: string[], end: boolean): void
  /** A part of the body: `consumed` gives its room back, now or when the stream is resumed. */
  onData(data: Buffer): void
  onEnd(trailers: string[] | undefined): void
  /** The stream is over before its end. `refused`: nothing of it was done, it may be sent again. */
  onReset(code: number, refused: boolean): void
  /** There is room again, after `data` has returned false. */
  onDrain(): void
}

const NOBODY: H2StreamEvents = { onData() {}, onEnd() {}, onReset() {}, onDrain() {} }

/** Fields of a connection, which HTTP/2 does not have (RFC 9113, 8.2.2). */
const FORBIDDEN = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'])

export class H2Stream {
  readonly session: H2Session
  readonly id: number
  events: H2StreamEvents = NOBODY
  sendWindow: number
  receiveWindow: number
  unreturned = 0
  remoteEnded = false
  /** How the peer broke the protocol on this stream; "" when it did not. */
  problem = ''
  #begun = false
  #localEnded = false
  #over = false
  /** Parts of the body that no window has room for yet. */
  #waiting: Uint8Array[] = []
  /** What follows the body once that is out: trailers, or just its end. */
  #last: { trailers: readonly string[] | undefined } | undefined
  #wantsDrain = false
  #paused = false
  #unread = 0
  /** What content-length says of the body, -1 without one. */
  #declared = -1
  #received = 0
  #headSeen = false
  /** What follows our side is told to stop once that is out. */
  #refusesRest = false
  /** The answer to HEAD: its content-length is of a body that does not come. */
  readonly #bodiless: boolean

  constructor(session: H2Session, id: number, sendWindow: number, bodiless = false) {
    this.#bodiless = bodiless
    this.session = session
    this.id = id
    this.sendWindow = sendWindow
    this.receiveWindow = session.limits.streamWindow
  }

  /** Our side has begun to send. */
  get answered(): boolean {
    return this.#begun
  }

  /** Our side has been sent to its end. */
  get served(): boolean {
    return this.#localEnded
  }

  /** Whether nothing more comes or goes. */
  get over(): boolean {
    return this.#over
  }

  /** Sends a head; pseudo-fields come first. */
  head(fields: readonly string[], end: boolean): void {
    if (this.#over || this.#localEnded) return
    this.#begun = true
    this.session.writeHeaders(this.id, fields, end)
    if (end) this.#endLocal()
  }

  /** Sends a part of the body; false when the writer should wait for `onDrain`. */
  data(chunk: Uint8Array): boolean {
    if (this.#over || this.#localEnded) return true
    if (this.#waiting.length > 0) {
      this.#waiting.push(chunk)
      this.#wantsDrain = true
      return false
    }
    const sent = this.session.writeData(this, chunk, false)
    if (sent < chunk.length) {
      this.#waiting.push(sent === 0 ? chunk : chunk.subarray(sent))
      this.#wantsDrain = true
      return false
    }
    if (!this.session.congested(this)) return true
    this.#wantsDrain = true
    return false
  }

  /** Ends the body, with trailers or without. */
  end(trailers?: readonly string[]): void {
    if (this.#over || this.#localEnded || this.#last) return
    if (this.#waiting.length > 0) {
      this.#last = { trailers }
      return
    }
    if (trailers?.length) this.session.writeHeaders(this.id, trailers, true)
    else this.session.writeData(this, EMPTY, true)
    this.#endLocal()
  }

  /** Ends the stream at once, in both directions. */
  reset(code: number): void {
    if (this.#over) return
    this.session.writeReset(this.id, code)
    this.#finish()
  }

  /** Ends our side as it was going to; then the peer is told that the rest of its own is not wanted (RFC 9113, 8.1). */
  refuseRest(): void {
    if (this.#over || this.remoteEnded) return
    if (this.#localEnded) this.reset(H2Code.noError)
    else this.#refusesRest = true
  }

  /** No more data is read until `resume`: the peer's window closes. */
  pause(): void {
    this.#paused = true
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    const bytes = this.#unread
    this.#unread = 0
    if (bytes > 0 && !this.#over) this.session.giveBack(this, bytes)
  }

  /** For the session: bytes that were never read. */
  takeUnread(): number {
    const bytes = this.#unread
    this.#unread = 0
    return bytes
  }

  /** For the session: the head of a request. */
  begin(fields: string[] | undefined, end: boolean, done: (fields: string[]) => void): void {
    if (!fields) {
      this.remoteEnded = end
      this.head([':status', '431', 'content-length', '0'], true)
      return this.reset(H2Code.noError)
    }
    const problem = this.#check(fields, REQUEST)
    if (problem) return this.fail(H2Code.protocol, problem)
    this.#headSeen = true
    this.remoteEnded = end
    if (end && this.#declared > 0) return this.fail(H2Code.protocol, 'the body is shorter than its content-length')
    done(fields)
  }

  /** For the session: a head or trailers. */
  onHeaders(fields: string[], end: boolean): void {
    if (!this.#headSeen) {
      const problem = this.#check(fields, RESPONSE)
      if (problem) return this.fail(H2Code.protocol, problem)
      const informational = fields[1]!.length === 3 && fields[1]![0] === '1'
      if (informational && end) return this.fail(H2Code.protocol, 'an interim answer ends the stream')
      if (informational) this.#declared = -1
      this.#headSeen = !informational
      if (end) this.remoteEnded = true
      this.events.onHead?.(fields, end)
      if (end) this.#endRemote()
      return
    }
    if (!end) return this.fail(H2Code.protocol, 'trailers that do not end the stream')
    const problem = this.#check(fields, NONE)
    if (problem) return this.fail(H2Code.protocol, problem)
    if (this.#declared >= 0 && this.#received !== this.#declared)
      return this.fail(H2Code.protocol, 'the body is not as long as its content-length')
    this.remoteEnded = true
    this.events.onEnd(fields)
    this.#endRemote()
  }

  /** For the session: a part of the body. */
  onData(data: Buffer, end: boolean): void {
    if (!this.#headSeen) return this.fail(H2Code.protocol, 'data before headers')
    this.#received += data.length
    if (this.#declared >= 0 && (this.#received > this.#declared || (end && this.#received < this.#declared)))
      return this.fail(H2Code.protocol, 'the body is not as long as its content-length')
    if (end) this.remoteEnded = true
    if (data.length > 0) {
      this.#unread += data.length
      this.events.onData(data)
      if (!this.#paused && !this.#over) {
        const bytes = this.#unread
        this.#unread = 0
        this.session.giveBack(this, bytes)
      }
    }
    if (end && !this.#over) {
      this.events.onEnd(undefined)
      this.#endRemote()
    }
  }

  /** For the session: the peer has reset the stream, or the connection is gone. */
  onReset(code: number, refused: boolean): void {
    if (this.#over) return
    this.#finish()
    this.events.onReset(code, refused || code === H2Code.refusedStream)
  }

  /** For the session: the peer broke the protocol on this stream. */
  fail(code: number, why: string): void {
    if (this.#over) return
    this.problem = why
    this.session.writeReset(this.id, code)
    this.#finish()
    this.events.onReset(code, false)
  }

  /** For the session: a window or the socket has room again. */
  unblocked(): void {
    while (this.#waiting.length > 0) {
      const chunk = this.#waiting[0]!
      const sent = this.session.writeData(this, chunk, false)
      if (sent < chunk.length) {
        if (sent > 0) this.#waiting[0] = chunk.subarray(sent)
        return
      }
      this.#waiting.shift()
    }
    if (this.#last) {
      const { trailers } = this.#last
      this.#last = undefined
      return this.end(trailers)
    }
    if (!this.#wantsDrain || this.session.congested(this)) return
    this.#wantsDrain = false
    this.events.onDrain()
  }

  #endLocal(): void {
    this.#localEnded = true
    if (this.remoteEnded && this.#headSeen) this.#finish()
    else if (this.#refusesRest) this.reset(H2Code.noError)
  }

  #endRemote(): void {
    if (this.#localEnded) this.#finish()
  }

  #finish(): void {
    if (this.#over) return
    this.#over = true
    this.#waiting = []
    this.session.forget(this)
  }

  /** What is wrong with a block of fields (RFC 9113, 8.2 and 8.3); undefined when nothing is. */
  #check(fields: readonly string[], pseudo: Pseudo): string | undefined {
    let regular = false
    let seen = 0
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!
      const value = fields[i + 1]!
      if (name.charCodeAt(0) === 58) {
        const bit = pseudo[name]
        if (regular || bit === undefined || seen & bit) return `${name} is out of place`
        if (value === '' && name !== ':authority') return `${name} is empty`
        seen |= bit
      } else {
        regular = true
        if (!isFieldName(name) || FORBIDDEN.has(name)) return 'a field that HTTP/2 does not have'
        if (name === 'te' && value !== 'trailers') return 'te asks for more than trailers'
        if (name === 'content-length') {
          if (this.#declared >= 0 || !/^\d{1,15}$/.test(value)) return 'a bad content-length'
          this.#declared = Number(value)
        }
      }
      if (!isFieldValue(value) || /^[ \t]|[ \t]$/.test(value)) return 'a bad field value'
    }
    if (pseudo === REQUEST) {
      // CONNECT has only method and authority.
      const connect = fields.includes('CONNECT') && fields[fields.indexOf(':method') + 1] === 'CONNECT'
      if (!(seen & 1) || (!connect && (seen & 7) !== 7)) return 'a request lacks pseudo-fields'
    }
    if (pseudo === RESPONSE) {
      if (fields[0] !== ':status' || !/^[1-9]\d\d$/.test(fields[1]!)) return 'an answer has no status'
      if (this.#bodiless || fields[1] === '204' || fields[1] === '304') this.#declared = -1
      if (fields[1] === '101') return 'an answer of 101'
    }
    return undefined
  }
}

type Pseudo = Readonly<Record<string, number>>
const REQUEST: Pseudo = { ':method': 1, ':scheme': 2, ':path': 4, ':authority': 8 }
const RESPONSE: Pseudo = { ':status': 1 }
const NONE: Pseudo = {}
const EMPTY = Buffer.alloc(0)
