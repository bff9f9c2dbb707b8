// One connection of HTTP/2 (RFC 9113), as server or client, on raw bytes. Hot path; bench/proxy measures it.

import { SampanError } from '#base'
import {
  DEFAULT_WINDOW,
  Flag,
  FRAME_HEAD,
  FRAME_SIZE,
  FrameType,
  frame,
  frameHead,
  goawayFrame,
  H2Code,
  MAX_WINDOW,
  numberFrame,
  PREFACE,
  Setting,
  settingsFrame,
  writeFrameHead,
} from './h2-frames.ts'
import {
  Allowance,
  BACKLOG,
  H2_CLIENT_LIMITS,
  H2_LIMITS,
  type H2Limits,
  IDLE_BURST,
  IDLE_RATE,
  RESET_BURST,
  RESET_RATE,
  remember,
} from './h2-limits.ts'
import { H2Stream, type H2StreamEvents } from './h2-stream.ts'
import { HpackDecoder, HpackEncoder } from './hpack.ts'
import type { Output } from './output.ts'

/** The peer broke the protocol; the connection ends with this code. */
export class H2Error extends SampanError {
  readonly h2Code: number

  constructor(code: number, message: string) {
    super('H2Error', message)
    this.h2Code = code
  }
}

/** Whom a session serves. */
export interface H2SessionEvents {
  /** A request has come (server only): answer by the stream, and set what listens to it. Fields begin with pseudo-fields. */
  onRequest?(stream: H2Stream, fields: string[], end: boolean): void
  /** The peer opens no more streams, or takes no more of ours. */
  onGoaway?(): void
  /** The session is over; streams have been told. `error` tells what the peer did wrong. */
  onEnd(error: H2Error | undefined): void
}

const EMPTY = Buffer.alloc(0)

export class H2Session {
  readonly server: boolean
  readonly output: Output
  readonly limits: H2Limits
  readonly #events: H2SessionEvents
  readonly #encoder = new HpackEncoder()
  readonly #decoder = new HpackDecoder()
  readonly #streams = new Map<number, H2Stream>()
  /** Streams whose writers wait for room in the connection's window or in the socket. */
  readonly #blocked = new Set<H2Stream>()
  #buffer: Buffer = EMPTY
  #preface: boolean
  #settled = false
  #nextId: number
  #lastPeerId = 0
  #ended = false
  #goaway = false
  #closing = false
  /** The client knows that the connection will be closed. */
  #warned = false
  /** What we may still send, in all. */
  #sendWindow = DEFAULT_WINDOW
  /** What the peer may still send, in all, and what has been read of it but not been given back. */
  #receiveWindow: number
  #unreturned = 0
  /** Streams that were reset here lately, and those that are closed: what comes on them still means different things. */
  readonly #resetHere = new Set<number>()
  readonly #closed = new Set<number>()
  /** A header block that comes in several frames. */
  #block: { id: number; flags: number; parts: Buffer[]; size: number } | undefined
  readonly #idleFrames = new Allowance(IDLE_BURST, IDLE_RATE)
  readonly #resets = new Allowance(RESET_BURST, RESET_RATE)
  /** The peer's settings. */
  peerStreamWindow = DEFAULT_WINDOW
  peerFrameSize = FRAME_SIZE
  peerMaxStreams = 100
  #pings: (() => void)[] = []

  /** Begins a session: our settings go out at once. */
  constructor(
    role: 'server' | 'client',
    output: Output,
    events: H2SessionEvents,
    limits: H2Limits = role === 'server' ? H2_LIMITS : H2_CLIENT_LIMITS,
  ) {
    this.server = role === 'server'
    this.output = output
    this.limits = limits
    this.#events = events
    this.#preface = this.server
    this.#nextId = this.server ? 2 : 1
    this.#receiveWindow = limits.window
    output.onDrain = () => this.#unblock()
    if (!this.server) output.write(PREFACE)
    output.write(
      settingsFrame([
        ...(this.server
          ? ([[Setting.maxConcurrentStreams, limits.streams]] as const)
          : ([[Setting.enablePush, 0]] as const)),
        [Setting.initialWindowSize, limits.streamWindow],
        [Setting.maxHeaderListSize, limits.headers],
      ]),
    )
    if (limits.window > DEFAULT_WINDOW)
      output.write(numberFrame(FrameType.windowUpdate, 0, limits.window - DEFAULT_WINDOW))
  }

  /** Streams that are open. */
  get open(): number {
    return this.#streams.size
  }

  /** Whether a client may open another stream here. */
  get available(): boolean {
    return !this.#ended && !this.#goaway && !this.#closing && this.#streams.size < this.peerMaxStreams
  }

  /** The connection has ended. */
  get over(): boolean {
    return this.#ended
  }

  /** No stream will be opened here any more. */
  get finished(): boolean {
    return this.#ended || this.#goaway || this.#closing
  }

  /** Opens a stream with a request's fields, pseudo-fields first (client only). */
  request(fields: readonly string[], end: boolean, events: H2StreamEvents): H2Stream {
    const stream = new H2Stream(this, this.#nextId, this.peerStreamWindow, fields[1] === 'HEAD')
    this.#nextId += 2
    stream.events = events
    this.#streams.set(stream.id, stream)
    if (this.#nextId > MAX_WINDOW - 2) this.#goaway = true
    stream.head(fields, end)
    return stream
  }

  /** Asks whether the peer is there; `done` when it says so. */
  ping(done: () => void): void {
    this.#pings.push(done)
    this.output.write(frame(FrameType.ping, 0, 0, Buffer.alloc(8)))
  }

  /**
   * Takes no new streams; ends the connection when the last has ended. A client is warned first and its requests that
   * are on their way are served (RFC 9113, 6.8); called again, its warning was long enough.
   */
  close(): void {
    if (this.#ended || this.#closing) return
    if (!this.server || this.#warned || this.#preface) return this.#closeNow()
    this.#warned = true
    this.output.write(goawayFrame(MAX_WINDOW, H2Code.noError, ''))
    // What comes after the answer was sent by one who knew.
    this.ping(() => this.#closeNow())
  }

  #closeNow(): void {
    if (this.#ended || this.#closing) return
    this.#closing = true
    this.output.write(goawayFrame(this.#lastPeerId, H2Code.noError, ''))
    this.#endIfIdle()
  }

  /** Takes bytes from the connection, which are the caller's again when it returns. What breaks the protocol ends the session. */
  push(data: Buffer): void {
    if (this.#ended) return
    this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data])
    try {
      if (this.#preface && !this.#takePreface()) return
      while (!this.#ended && this.#buffer.length >= FRAME_HEAD) {
        const buffer = this.#buffer
        const length = buffer.readUIntBE(0, 3)
        if (length > FRAME_SIZE) throw new H2Error(H2Code.frameSize, 'a frame is too large')
        if (buffer.length < FRAME_HEAD + length) break
        // An empty rest would keep the whole piece in memory for as long as the connection is silent.
        this.#buffer = buffer.length === FRAME_HEAD + length ? EMPTY : buffer.subarray(FRAME_HEAD + length)
        this.#onFrame(
          buffer[3]!,
          buffer[4]!,
          buffer.readUInt32BE(5) & 0x7fff_ffff,
          buffer.subarray(FRAME_HEAD, FRAME_HEAD + length),
        )
      }
    } catch (error) {
      if (error instanceof H2Error) this.#fail(error)
      else if (error instanceof SampanError && error.code === 'HpackError')
        this.#fail(new H2Error(H2Code.compression, error.message))
      else throw error
    } finally {
      if (this.#buffer.length > 0 && this.#buffer.buffer === data.buffer) this.#buffer = Buffer.from(this.#buffer)
    }
  }

  /** The connection is gone. */
  end(): void {
    if (this.#ended) return
    this.#finish(undefined, H2Code.cancel, false)
  }

  /** For streams: writes a header block. */
  writeHeaders(id: number, fields: readonly string[], end: boolean): void {
    if (this.#ended) return
    const block = this.#encoder.encode(fields)
    const flags = end ? Flag.endStream : 0
    const size = this.peerFrameSize
    if (block.length <= size) {
      this.output.write(frame(FrameType.headers, flags | Flag.endHeaders, id, block))
      return
    }
    for (let at = 0; at < block.length; at += size) {
      const last = at + size >= block.length ? Flag.endHeaders : 0
      const part = block.subarray(at, at + size)
      this.output.write(
        at === 0 ? frame(FrameType.headers, flags | last, id, part) : frame(FrameType.continuation, last, id, part),
      )
    }
  }

  /** For streams: writes as much of a body as windows allow; returns how many bytes went. */
  writeData(stream: H2Stream, data: Uint8Array, end: boolean): number {
    if (this.#ended) return data.length
    let at = 0
    while (at < data.length) {
      const room = Math.min(stream.sendWindow, this.#sendWindow, this.peerFrameSize, data.length - at)
      if (room <= 0) {
        if (this.#sendWindow <= 0) this.#blocked.add(stream)
        return at
      }
      const last = at + room === data.length
      const flags = end && last ? Flag.endStream : 0
      const part = at === 0 && last ? data : data.subarray(at, at + room)
      if (room <= 2048) {
        const out = Buffer.allocUnsafe(FRAME_HEAD + room)
        writeFrameHead(out, 0, room, FrameType.data, flags, stream.id)
        out.set(part, FRAME_HEAD)
        this.output.write(out)
      } else {
        this.output.write(frameHead(room, FrameType.data, flags, stream.id))
        this.output.write(part)
      }
      stream.sendWindow -= room
      this.#sendWindow -= room
      at += room
    }
    if (data.length === 0 && end) this.output.write(frameHead(0, FrameType.data, Flag.endStream, stream.id))
    return at
  }

  /** For streams: whether a writer should wait until `onDrain`. */
  congested(stream: H2Stream): boolean {
    if (!this.output.congested) return false
    this.#blocked.add(stream)
    return true
  }

  /** For streams: bytes have been read; the peer may send as many more. */
  giveBack(stream: H2Stream, bytes: number): void {
    if (this.#ended) return
    this.#unreturned += bytes
    if (this.#unreturned >= this.limits.window / 2) {
      this.output.write(numberFrame(FrameType.windowUpdate, 0, this.#unreturned))
      this.#receiveWindow += this.#unreturned
      this.#unreturned = 0
    }
    stream.unreturned += bytes
    if (stream.remoteEnded || stream.unreturned < this.limits.streamWindow / 2) return
    this.output.write(numberFrame(FrameType.windowUpdate, stream.id, stream.unreturned))
    stream.receiveWindow += stream.unreturned
    stream.unreturned = 0
  }

  /** For streams: resets one. */
  writeReset(id: number, code: number): void {
    if (this.#ended) return
    remember(this.#resetHere, id)
    this.output.write(numberFrame(FrameType.rstStream, id, code))
  }

  /** For streams: one is over. */
  forget(stream: H2Stream): void {
    this.#streams.delete(stream.id)
    this.#blocked.delete(stream)
    if (this.server) remember(this.#closed, stream.id)
    if (stream.served) this.#resets.give()
    // Bytes that nobody has read any more still count for the connection.
    const left = stream.takeUnread()
    if (left > 0 && !this.#ended) this.#returnWindow(left)
    if (this.#closing || this.#goaway) this.#endIfIdle()
  }

  #returnWindow(bytes: number): void {
    this.#unreturned += bytes
    if (this.#unreturned < this.limits.window / 2) return
    this.output.write(numberFrame(FrameType.windowUpdate, 0, this.#unreturned))
    this.#receiveWindow += this.#unreturned
    this.#unreturned = 0
  }

  #endIfIdle(): void {
    if (this.#streams.size === 0 && !this.#ended) this.#finish(undefined, H2Code.noError, true)
  }

  #takePreface(): boolean {
    const length = Math.min(this.#buffer.length, PREFACE.length)
    if (!this.#buffer.subarray(0, length).equals(PREFACE.subarray(0, length)))
      throw new H2Error(H2Code.protocol, 'the preface is not one of HTTP/2')
    if (length < PREFACE.length) return false
    this.#buffer = this.#buffer.subarray(PREFACE.length)
    this.#preface = false
    return true
  }

  #onFrame(type: number, flags: number, id: number, payload: Buffer): void {
    if (!this.#settled && type !== FrameType.settings) throw new H2Error(H2Code.protocol, 'no settings came first')
    if (this.#block && (type !== FrameType.continuation || id !== this.#block.id))
      throw new H2Error(H2Code.protocol, 'a header block is interrupted')
    switch (type) {
      case FrameType.data:
        return this.#onData(flags, id, payload)
      case FrameType.headers:
        return this.#onHeaders(flags, id, payload)
      case FrameType.priority:
        if (id === 0) throw new H2Error(H2Code.protocol, 'a priority of no stream')
        if (payload.length !== 5) throw new H2Error(H2Code.frameSize, 'a bad priority')
        if ((payload.readUInt32BE(0) & 0x7fff_ffff) === id)
          throw new H2Error(H2Code.protocol, 'a stream depends on itself')
        return this.#idle()
      case FrameType.rstStream:
        return this.#onReset(id, payload)
      case FrameType.settings:
        return this.#onSettings(flags, id, payload)
      case FrameType.pushPromise:
        throw new H2Error(H2Code.protocol, 'nobody asked for a push')
      case FrameType.ping:
        return this.#onPing(flags, id, payload)
      case FrameType.goaway:
        return this.#onGoaway(id, payload)
      case FrameType.windowUpdate:
        return this.#onWindowUpdate(id, payload)
      case FrameType.continuation:
        return this.#onContinuation(flags, payload)
      default:
        this.#idle()
    }
  }

  /** A frame that carries nothing. */
  #idle(): void {
    if (!this.#idleFrames.take(performance.now()))
      throw new H2Error(H2Code.enhanceYourCalm, 'too many frames that carry nothing')
    if (this.output.backlog > BACKLOG) throw new H2Error(H2Code.enhanceYourCalm, 'answers are not read')
  }

  #onData(flags: number, id: number, payload: Buffer): void {
    if (id === 0) throw new H2Error(H2Code.protocol, 'data without a stream')
    const size = payload.length
    let data = payload
    if (flags & Flag.padded) {
      const pad = payload[0]
      if (pad === undefined || pad >= size) throw new H2Error(H2Code.protocol, 'bad padding')
      data = payload.subarray(1, size - pad)
    }
    this.#receiveWindow -= size
    if (this.#receiveWindow < 0) throw new H2Error(H2Code.flowControl, 'more data than the window has room for')
    const stream = this.#streams.get(id)
    const end = (flags & Flag.endStream) !== 0
    if (data.length === 0 && !end) this.#idle()
    if (!stream || stream.remoteEnded) {
      if (this.#isIdle(id)) throw new H2Error(H2Code.protocol, 'data on a stream that is not open')
      this.#returnWindow(size)
      if (stream) stream.reset(H2Code.streamClosed)
      // What was on its way when the stream was reset here is nothing wrong.
      else if (!this.#resetHere.has(id)) this.writeReset(id, H2Code.streamClosed)
      return
    }
    stream.receiveWindow -= size
    if (stream.receiveWindow < 0) return stream.fail(H2Code.flowControl, 'more data than the window has room for')
    // Padding is read at once.
    if (size > data.length) this.giveBack(stream, size - data.length)
    stream.onData(data.length > 0 ? Buffer.from(data) : EMPTY, end)
  }

  #isIdle(id: number): boolean {
    const own = (id & 1) === (this.server ? 0 : 1)
    return own ? id >= this.#nextId : id > this.#lastPeerId
  }

  #onHeaders(flags: number, id: number, payload: Buffer): void {
    if (id === 0) throw new H2Error(H2Code.protocol, 'headers without a stream')
    let from = 0
    let to = payload.length
    if (flags & Flag.padded) {
      to -= payload[0] ?? 0
      from = 1
    }
    if (flags & Flag.priority) {
      // A stream that depends on itself.
      if (payload.length >= from + 4 && (payload.readUInt32BE(from) & 0x7fff_ffff) === id)
        throw new H2Error(H2Code.protocol, 'a stream depends on itself')
      from += 5
    }
    if (from > to) throw new H2Error(H2Code.protocol, 'bad padding')
    const part = payload.subarray(from, to)
    if (flags & Flag.endHeaders) this.#onBlock(id, flags, part)
    else this.#block = { id, flags, parts: [Buffer.from(part)], size: part.length }
  }

  #onContinuation(flags: number, payload: Buffer): void {
    const block = this.#block
    if (!block) throw new H2Error(H2Code.protocol, 'a continuation of nothing')
    block.parts.push(Buffer.from(payload))
    block.size += payload.length
    // A block is compressed: one larger than what it may become is not read (CVE-2024-27316 and its kin).
    if (block.size > this.limits.headers || block.parts.length > 64)
      throw new H2Error(H2Code.enhanceYourCalm, 'a header block is too large')
    if (!(flags & Flag.endHeaders)) return
    this.#block = undefined
    this.#onBlock(block.id, block.flags, Buffer.concat(block.parts))
  }

  #onBlock(id: number, flags: number, block: Buffer): void {
    const fields = this.#decoder.decode(block, this.limits.headers)
    const end = (flags & Flag.endStream) !== 0
    const known = this.#streams.get(id)
    if (known) {
      if (known.remoteEnded) return known.fail(H2Code.streamClosed, 'headers after the end')
      if (!fields) return known.fail(H2Code.enhanceYourCalm, 'headers are too large')
      return known.onHeaders(fields, end)
    }
    if (!this.server) {
      if (this.#isIdle(id) || (id & 1) === 0) throw new H2Error(H2Code.protocol, 'an answer to nothing')
      return
    }
    if ((id & 1) === 0) throw new H2Error(H2Code.protocol, 'a client opens streams of odd numbers')
    if (id <= this.#lastPeerId) {
      // Trailers of a stream that was reset here.
      if (this.#resetHere.has(id)) return
      const code = this.#closed.has(id) ? H2Code.streamClosed : H2Code.protocol
      throw new H2Error(code, 'headers on a stream that is closed')
    }
    this.#lastPeerId = id
    if (this.#closing || this.#streams.size >= this.limits.streams) {
      if (!this.#resets.take(performance.now())) throw new H2Error(H2Code.enhanceYourCalm, 'too many refused streams')
      return this.writeReset(id, H2Code.refusedStream)
    }
    const stream = new H2Stream(this, id, this.peerStreamWindow)
    this.#streams.set(id, stream)
    stream.begin(fields, end, (all) => this.#events.onRequest?.(stream, all, end))
  }

  #onReset(id: number, payload: Buffer): void {
    if (payload.length !== 4) throw new H2Error(H2Code.frameSize, 'a bad reset')
    if (id === 0 || this.#isIdle(id)) throw new H2Error(H2Code.protocol, 'a reset of a stream that is not open')
    const stream = this.#streams.get(id)
    // One that was being answered has not come to be reset.
    if (this.server && !stream?.answered && !this.#resets.take(performance.now()))
      throw new H2Error(H2Code.enhanceYourCalm, 'too many streams are reset')
    stream?.onReset(payload.readUInt32BE(0), false)
  }

  #onSettings(flags: number, id: number, payload: Buffer): void {
    if (id !== 0) throw new H2Error(H2Code.protocol, 'settings of a stream')
    // Who does not say how many streams may be open bears any number.
    if (!this.#settled) this.peerMaxStreams = Number.POSITIVE_INFINITY
    this.#settled = true
    if (flags & Flag.ack) {
      if (payload.length > 0) throw new H2Error(H2Code.frameSize, 'an acknowledgement with settings')
      return
    }
    if (payload.length % 6 !== 0) throw new H2Error(H2Code.frameSize, 'bad settings')
    this.#idle()
    for (let at = 0; at < payload.length; at += 6)
      this.#onSetting(payload.readUInt16BE(at), payload.readUInt32BE(at + 2))
    this.output.write(frameHead(0, FrameType.settings, Flag.ack, 0))
  }

  #onSetting(id: number, value: number): void {
    switch (id) {
      case Setting.headerTableSize:
        this.#encoder.limit = value
        break
      case Setting.enablePush:
        if (value > 1) throw new H2Error(H2Code.protocol, 'bad enable_push')
        break
      case Setting.maxConcurrentStreams:
        this.peerMaxStreams = value
        break
      case Setting.initialWindowSize: {
        if (value > MAX_WINDOW) throw new H2Error(H2Code.flowControl, 'a window is too large')
        const change = value - this.peerStreamWindow
        this.peerStreamWindow = value
        for (const stream of [...this.#streams.values()]) {
          stream.sendWindow += change
          if (stream.sendWindow > MAX_WINDOW) throw new H2Error(H2Code.flowControl, 'a window is too large')
          if (change > 0) stream.unblocked()
        }
        break
      }
      case Setting.maxFrameSize:
        if (value < FRAME_SIZE || value > 0xff_ffff) throw new H2Error(H2Code.protocol, 'bad max_frame_size')
        this.peerFrameSize = Math.min(value, 64 * 1024)
        break
    }
  }

  #onPing(flags: number, id: number, payload: Buffer): void {
    if (id !== 0) throw new H2Error(H2Code.protocol, 'a ping of a stream')
    if (payload.length !== 8) throw new H2Error(H2Code.frameSize, 'a bad ping')
    if (flags & Flag.ack) return this.#pings.shift()?.()
    this.#idle()
    this.output.write(frame(FrameType.ping, Flag.ack, 0, payload))
  }

  #onGoaway(id: number, payload: Buffer): void {
    if (id !== 0 || payload.length < 8) throw new H2Error(H2Code.protocol, 'a bad goaway')
    const last = payload.readUInt32BE(0) & 0x7fff_ffff
    this.#goaway = true
    this.#events.onGoaway?.()
    // What the peer has not begun may go elsewhere.
    if (!this.server)
      for (const stream of [...this.#streams.values()]) if (stream.id > last) stream.onReset(H2Code.refusedStream, true)
    this.#endIfIdle()
  }

  #onWindowUpdate(id: number, payload: Buffer): void {
    if (payload.length !== 4) throw new H2Error(H2Code.frameSize, 'a bad window update')
    const more = payload.readUInt32BE(0) & 0x7fff_ffff
    if (id === 0) {
      this.#sendWindow += more
      if (more === 0) throw new H2Error(H2Code.protocol, 'a window update of nothing')
      if (this.#sendWindow > MAX_WINDOW) throw new H2Error(H2Code.flowControl, 'a window is too large')
      return this.#unblock()
    }
    const stream = this.#streams.get(id)
    if (!stream) {
      if (this.#isIdle(id)) throw new H2Error(H2Code.protocol, 'a window update of a stream that is not open')
      return this.#idle()
    }
    if (more === 0) return stream.fail(H2Code.protocol, 'a window update of nothing')
    stream.sendWindow += more
    if (stream.sendWindow > MAX_WINDOW) return stream.fail(H2Code.flowControl, 'a window is too large')
    stream.unblocked()
  }

  #unblock(): void {
    const all = [...this.#blocked]
    this.#blocked.clear()
    for (const stream of all) stream.unblocked()
  }

  #fail(error: H2Error): void {
    this.#finish(error, H2Code.cancel, true)
  }

  /** Tells streams and the owner that all is over, after a last word to the peer. */
  #finish(error: H2Error | undefined, code: number, say: boolean): void {
    if (say && (error || !this.#closing))
      this.output.write(
        goawayFrame(this.#lastPeerId, error?.h2Code ?? H2Code.noError, error?.message.slice(0, 100) ?? ''),
      )
    this.#ended = true
    this.#buffer = Buffer.alloc(0)
    for (const stream of [...this.#streams.values()]) stream.onReset(code, false)
    this.#streams.clear()
    this.#blocked.clear()
    this.#events.onEnd(error)
  }
}
