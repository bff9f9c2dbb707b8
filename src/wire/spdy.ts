// SPDY/3.1 framing, as far as Kubernetes' exec, attach and port-forward use it: both ends.
// Frame layouts from the SPDY/3.1 draft (draft-mbelshe-httpbis-spdy-00).

import type { Duplex } from 'node:stream'
import { constants, createDeflate, createInflate, type Deflate, type Inflate } from 'node:zlib'
import { SampanError } from '#base'
import { SPDY_DICTIONARY } from './spdy-dictionary.ts'

const SYN_STREAM = 1
const SYN_REPLY = 2
const RST_STREAM = 3
const SETTINGS = 4
const PING = 6
const GOAWAY = 7
const HEADERS = 8
const WINDOW_UPDATE = 9
const FIN = 0x01
const MAX_FRAME = 1024 * 1024

/** One stream of a connection. */
export interface SpdyStream {
  readonly id: number
  readonly headers: Readonly<Record<string, string>>
  /** Sends data; returns false when the connection's buffer is full. */
  write(data: Uint8Array): boolean
  /** Half-closes our side. */
  end(): void
  /** Aborts both sides. */
  reset(): void
  onData: (data: Buffer) => void
  /** The peer has half-closed. */
  onEnd: () => void
  /** The stream was reset or the connection closed. */
  onClose: () => void
}

export interface SpdyOptions {
  server: boolean
  /** A stream opened by the peer. */
  onStream?: (stream: SpdyStream) => void
  onClose?: () => void
}

/** A SPDY connection over any duplex stream. */
export class SpdyConnection {
  readonly #io: Duplex
  readonly #options: SpdyOptions
  readonly #streams = new Map<number, Stream>()
  readonly #deflate: Deflate
  readonly #inflate: Inflate
  #nextId: number
  #nextPing: number
  #buffer: Buffer = Buffer.alloc(0)
  #outgoing: Promise<void> = Promise.resolve()
  #incoming: Promise<void> = Promise.resolve()
  #closed = false
  readonly #pings = new Map<number, () => void>()

  constructor(io: Duplex, options: SpdyOptions, head?: Buffer) {
    this.#io = io
    this.#options = options
    this.#nextId = options.server ? 2 : 1
    this.#nextPing = options.server ? 2 : 1
    this.#deflate = createDeflate({ dictionary: SPDY_DICTIONARY, flush: constants.Z_SYNC_FLUSH })
    this.#inflate = createInflate({ dictionary: SPDY_DICTIONARY, flush: constants.Z_SYNC_FLUSH })
    this.#deflate.on('error', () => this.close())
    this.#inflate.on('error', () => this.close())
    io.on('data', (data: Buffer) => this.#receive(data))
    // What has arrived is dealt with before the end is.
    const ended = () => {
      this.#incoming = this.#incoming.then(() => this.close())
    }
    io.on('close', ended)
    io.on('end', ended)
    io.on('error', () => this.close())
    if (head?.length) this.#receive(head)
  }

  /** Opens a stream and sends its headers. */
  open(headers: Record<string, string>): SpdyStream {
    const id = this.#nextId
    this.#nextId += 2
    const stream = new Stream(id, headers, this)
    this.#streams.set(id, stream)
    this.#control(SYN_STREAM, 0, headers, (block) => {
      const body = Buffer.alloc(10)
      body.writeUInt32BE(id, 0)
      return Buffer.concat([body, block])
    })
    return stream
  }

  /** Bytes waiting to be taken by the peer. */
  get backlog(): number {
    return this.#io.writableLength
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const stream of this.#streams.values()) stream.onClose()
    this.#streams.clear()
    this.#deflate.close()
    this.#inflate.close()
    this.#io.end()
    setImmediate(() => this.#io.destroy())
    this.#options.onClose?.()
  }

  /** Waits until everything written so far has been handed to the transport, then closes. */
  async finish(): Promise<void> {
    await this.#outgoing
    this.close()
  }

  /** Internal: frames of a stream. Data keeps its order behind headers that are still being packed. */
  sendData(id: number, data: Uint8Array, fin: boolean): boolean {
    for (let at = 0; at < data.length || fin; at += 0x8000) {
      const part = data.subarray(at, at + 0x8000)
      const last = at + 0x8000 >= data.length
      const head = Buffer.alloc(8)
      head.writeUInt32BE(id, 0)
      head.writeUInt32BE(part.length, 4)
      if (fin && last) head[4] = FIN
      this.#send(head, part)
      if (last) break
    }
    return this.#io.writableLength < 1024 * 1024
  }

  sendReset(id: number): void {
    const frame = Buffer.alloc(16)
    frame.writeUInt32BE(0x80030000 + RST_STREAM, 0)
    frame.writeUInt32BE(8, 4)
    frame.writeUInt32BE(id, 8)
    frame.writeUInt32BE(5, 12)
    this.#send(frame)
    this.forget(id)
  }

  forget(id: number): void {
    this.#streams.delete(id)
  }

  #send(...parts: Uint8Array[]): void {
    this.#outgoing = this.#outgoing.then(() => {
      if (!this.#closed) for (const part of parts) if (part.length > 0) this.#io.write(part)
    })
  }

  #control(type: number, flags: number, headers: Record<string, string>, frame: (block: Buffer) => Buffer): void {
    this.#outgoing = this.#outgoing.then(async () => {
      if (this.#closed) return
      const block = await pump(this.#deflate, encodeHeaders(headers))
      const body = frame(block)
      const head = Buffer.alloc(8)
      head.writeUInt32BE(0x80030000 + type, 0)
      head.writeUInt32BE(body.length, 4)
      head[4] = flags
      if (this.#closed) return
      this.#io.write(head)
      this.#io.write(body)
    })
  }

  #receive(data: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data])
    while (this.#buffer.length >= 8) {
      const first = this.#buffer.readUInt32BE(0)
      const flags = this.#buffer[4]!
      const length = this.#buffer.readUInt32BE(4) & 0xffffff
      if (length > MAX_FRAME) return this.close()
      if (this.#buffer.length < 8 + length) return
      const body = this.#buffer.subarray(8, 8 + length)
      this.#buffer = this.#buffer.subarray(8 + length)
      // Headers are unpacked asynchronously; every frame waits its turn behind them.
      this.#incoming = this.#incoming.then(() =>
        first & 0x80000000 ? this.#onControl(first & 0xffff, flags, body) : this.#onData(first, flags, body),
      )
    }
  }

  #onData(id: number, flags: number, body: Buffer): void {
    const stream = this.#streams.get(id)
    if (!stream || this.#closed) return
    // No window updates: the peers of this protocol in Kubernetes (moby/spdystream) know no flow control.
    if (body.length > 0) stream.onData(body)
    if (flags & FIN) stream.onEnd()
  }

  async #onControl(type: number, flags: number, body: Buffer): Promise<void> {
    if (this.#closed) return
    switch (type) {
      case SYN_STREAM: {
        const id = body.readUInt32BE(0) & 0x7fffffff
        const headers = decodeHeaders(await pump(this.#inflate, body.subarray(10)))
        const stream = new Stream(id, headers, this)
        this.#streams.set(id, stream)
        this.#control(SYN_REPLY, 0, {}, (block) => {
          const reply = Buffer.alloc(4)
          reply.writeUInt32BE(id, 0)
          return Buffer.concat([reply, block])
        })
        this.#options.onStream?.(stream)
        if (flags & FIN) stream.onEnd()
        return
      }
      case SYN_REPLY:
      case HEADERS:
        await pump(this.#inflate, body.subarray(4))
        if (flags & FIN) this.#streams.get(body.readUInt32BE(0) & 0x7fffffff)?.onEnd()
        return
      case RST_STREAM: {
        const id = body.readUInt32BE(0) & 0x7fffffff
        const stream = this.#streams.get(id)
        this.#streams.delete(id)
        stream?.onClose()
        return
      }
      case PING: {
        const frame = Buffer.alloc(12)
        frame.writeUInt32BE(0x80030000 + PING, 0)
        frame.writeUInt32BE(4, 4)
        body.copy(frame, 8, 0, 4)
        const id = body.readUInt32BE(0)
        const ours = id % 2 === this.#nextPing % 2
        if (!ours) this.#send(frame)
        else this.#pings.get(id)?.()
        return
      }
      case GOAWAY:
        return this.close()
      case SETTINGS:
      case WINDOW_UPDATE:
        return
      default:
        return
    }
  }
}

class Stream implements SpdyStream {
  readonly id: number
  readonly headers: Readonly<Record<string, string>>
  readonly #connection: SpdyConnection
  #ended = false
  /** Data that came before anybody listened. */
  #early: Buffer[] = []
  #earlyEnd = false
  #onData: ((data: Buffer) => void) | undefined
  #onEnd: (() => void) | undefined
  onClose: () => void = () => {}

  constructor(id: number, headers: Readonly<Record<string, string>>, connection: SpdyConnection) {
    this.id = id
    this.headers = headers
    this.#connection = connection
  }

  get onData(): (data: Buffer) => void {
    return this.#onData ?? ((data) => this.#early.push(data))
  }

  set onData(listener: (data: Buffer) => void) {
    this.#onData = listener
    for (const data of this.#early.splice(0)) listener(data)
  }

  get onEnd(): () => void {
    return this.#onEnd ?? (() => (this.#earlyEnd = true))
  }

  set onEnd(listener: () => void) {
    this.#onEnd = listener
    if (this.#earlyEnd) listener()
  }

  write(data: Uint8Array): boolean {
    return this.#ended ? true : this.#connection.sendData(this.id, data, false)
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#connection.sendData(this.id, Buffer.alloc(0), true)
  }

  reset(): void {
    this.#ended = true
    this.#connection.sendReset(this.id)
  }
}

/** Pushes bytes through a zlib stream and collects what one sync flush yields. */
function pump(zip: Deflate | Inflate, input: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    const onData = (data: Buffer) => parts.push(data)
    const onError = (cause: Error) => {
      zip.off('data', onData)
      reject(new SampanError('SpdyError', `Cannot read SPDY headers: ${cause.message}`, { cause }))
    }
    zip.on('data', onData)
    zip.once('error', onError)
    zip.write(input, () => {
      setImmediate(() => {
        zip.off('data', onData)
        zip.off('error', onError)
        resolve(Buffer.concat(parts))
      })
    })
  })
}

function encodeHeaders(headers: Record<string, string>): Buffer {
  const entries = Object.entries(headers)
  const parts: Buffer[] = [u32(entries.length)]
  for (const [name, value] of entries) {
    const n = Buffer.from(name.toLowerCase())
    const v = Buffer.from(value)
    parts.push(u32(n.length), n, u32(v.length), v)
  }
  return Buffer.concat(parts)
}

function decodeHeaders(block: Buffer): Record<string, string> {
  const headers: Record<string, string> = {}
  if (block.length < 4) return headers
  const count = Math.min(block.readUInt32BE(0), 100)
  let at = 4
  const text = () => {
    const length = block.readUInt32BE(at)
    const value = block.toString('utf8', at + 4, at + 4 + length)
    at += 4 + length
    return value
  }
  for (let i = 0; i < count && at + 4 <= block.length; i++) {
    const name = text()
    headers[name] = text()
  }
  return headers
}

function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32BE(value)
  return buffer
}
