// What is to be written on a connection: pieces of one turn of the event loop go out in one system call, and those of
// all connections one after the other when everything that has come was read: whoever waits for them wakes up once.
// Hot path; bench/proxy measures it.

import type { Writable } from 'node:stream'
import { type DirectWriter, directWriter } from './direct-writer.ts'

/** From this many unsent bytes on, writers are asked to wait. */
const HIGH = 64 * 1024
/** Pieces together up to this size are copied into one. */
const COPY = 16 * 1024

/** The way out of a connection. Strings are latin1. */
export class Output {
  readonly #socket: Writable
  #pieces: (string | Uint8Array)[] = []
  #size = 0
  #scheduled = false
  #full = false
  /** The way past the stream, once the connection is there; null where there is none. */
  #direct: DirectWriter | null | undefined
  /** Called when there is room again, after `write` has returned false. */
  onDrain: () => void = () => {}

  constructor(socket: Writable) {
    this.#socket = socket
    socket.on('drain', () => this.#drained())
  }

  /** Bytes that wait here or in the socket. */
  get backlog(): number {
    return this.#size + this.#waiting()
  }

  /** Bytes that the socket has not sent yet. */
  #waiting(): number {
    return this.#socket.writableLength + (this.#direct?.pending ?? 0)
  }

  /** Whether writers should wait; `onDrain` is called when they need not any more. */
  get congested(): boolean {
    if (this.backlog < HIGH) return false
    this.#full = true
    return true
  }

  /** Adds a piece; false when the writer should wait for `onDrain`. */
  write(piece: string | Uint8Array): boolean {
    this.#pieces.push(piece)
    this.#size += piece.length
    if (!this.#scheduled) {
      this.#scheduled = true
      schedule(this)
    }
    if (this.#size + this.#waiting() < HIGH) return true
    this.#full = true
    return false
  }

  /** Hands what is here to the socket. */
  flush(): void {
    this.#scheduled = false
    const pieces = this.#pieces
    const size = this.#size
    if (size === 0) {
      if (pieces.length > 0) this.#pieces = []
      return
    }
    this.#pieces = []
    this.#size = 0
    const socket = this.#socket
    if (socket.destroyed || socket.writableEnded) return
    if (pieces.length === 1) this.#send(pieces[0]!)
    else if (size <= COPY) {
      const out = Buffer.allocUnsafe(size)
      let at = 0
      for (const piece of pieces)
        if (typeof piece === 'string') at += out.write(piece, at, 'latin1')
        else {
          out.set(piece, at)
          at += piece.length
        }
      this.#send(out)
    } else {
      socket.cork()
      for (const piece of pieces)
        if (typeof piece === 'string') socket.write(piece, 'latin1')
        else socket.write(piece)
      socket.uncork()
    }
    if (this.#full && !socket.writableNeedDrain && this.#waiting() < HIGH) this.#drained()
  }

  /** One piece, past the stream when nothing waits in it. */
  #send(piece: string | Uint8Array): void {
    const socket = this.#socket
    if (this.#direct === undefined) this.#direct = directWriter(socket, () => this.#drained())
    if (this.#direct && socket.writableLength === 0 && this.#direct.write(piece)) return
    if (typeof piece === 'string') socket.write(piece, 'latin1')
    else socket.write(piece)
  }

  /** The connection cannot go on. */
  fail(error: Error): void {
    this.#socket.destroy(error)
  }

  /** Sends what is here, then ends our side. */
  end(): void {
    this.flush()
    this.#socket.end()
  }

  #drained(): void {
    // One way out is free; the other may not be.
    if (!this.#full || this.backlog >= HIGH) return
    this.#full = false
    this.onDrain()
  }
}

/** Those that have something to send. */
let written: Output[] = []

function schedule(output: Output): void {
  if (written.push(output) === 1) setImmediate(flushAll)
}

function flushAll(): void {
  const outputs = written
  written = []
  for (const output of outputs)
    try {
      output.flush()
    } catch (error) {
      // What goes wrong on one connection ends that one, and holds up no other.
      output.fail(error as Error)
    }
}
