// Writing on a TCP connection past Node's streams: a system call and little else. Hot path; bench/proxy measures it.
//
// Node has no public way to do this. What is used here is looked for first, and where it is not as expected nobody
// goes this way: the connection is written by its stream.

import type { Writable } from 'node:stream'

/** What Node's TCP handles have (src/stream_base.h of Node). */
interface Handle {
  writeLatin1String(request: WriteRequest, text: string): number
  writeBuffer(request: WriteRequest, data: Uint8Array): number
  readonly writeQueueSize: number
}

interface WriteRequest {
  oncomplete: (() => void) | undefined
  /** Keeps alive what the system has not taken yet. */
  buffer: Uint8Array | undefined
}

interface StreamWrap {
  readonly WriteWrap: new () => WriteRequest
  readonly streamBaseState: Int32Array
  readonly kLastWriteWasAsync: number
}

function load(): StreamWrap | undefined {
  try {
    const { binding } = process as unknown as { binding(name: string): Partial<StreamWrap> }
    const wrap = binding.call(process, 'stream_wrap')
    const whole = wrap.WriteWrap && wrap.streamBaseState && typeof wrap.kLastWriteWasAsync === 'number'
    return whole ? (wrap as StreamWrap) : undefined
  } catch {
    return undefined
  }
}

const wrap = load()

/** Writes on one connection. */
export class DirectWriter {
  readonly #handle: Handle
  readonly #done: () => void
  readonly #wrap: StreamWrap
  #request: WriteRequest
  /** Writes that the system has not taken whole. */
  #open = 0

  constructor(handle: Handle, stream: StreamWrap, done: () => void) {
    this.#handle = handle
    this.#wrap = stream
    this.#done = done
    this.#request = new stream.WriteWrap()
  }

  /** Bytes that wait. */
  get pending(): number {
    return this.#open === 0 ? 0 : this.#handle.writeQueueSize
  }

  /** Writes a piece; false when it must go by the stream. Nothing may wait in the stream. */
  write(piece: string | Uint8Array): boolean {
    const request = this.#request
    const text = typeof piece === 'string'
    const error = text ? this.#handle.writeLatin1String(request, piece) : this.#handle.writeBuffer(request, piece)
    // The stream meets the same error, and tells it as streams do.
    if (error !== 0) return false
    if (this.#wrap.streamBaseState[this.#wrap.kLastWriteWasAsync] === 0) return true
    // It is on its way: this request is used up, its data stays until it has gone.
    this.#open++
    if (!text) request.buffer = piece
    request.oncomplete = () => {
      request.buffer = undefined
      if (--this.#open === 0) this.#done()
    }
    this.#request = new this.#wrap.WriteWrap()
    return true
  }
}

/** The direct way for a socket; null where there is none, undefined while it is not connected. */
export function directWriter(socket: Writable, done: () => void): DirectWriter | null | undefined {
  const {
    _handle: handle,
    connecting,
    encrypted,
  } = socket as {
    _handle?: Partial<Handle>
    connecting?: boolean
    encrypted?: boolean
  }
  if (connecting) return undefined
  if (!wrap || encrypted || !handle?.writeLatin1String || !handle.writeBuffer || handle.constructor?.name !== 'TCP')
    return null
  return new DirectWriter(handle as Handle, wrap, done)
}
