// A client of HTTP/1.1 that does as little as can be done: what it asks is ready, of answers it reads where they end.

import { connect, type TLSSocket } from 'node:tls'

const END = Buffer.from('\r\n\r\n')

/** One connection, one request at a time. */
export class LightClient {
  readonly #socket: TLSSocket
  #answer: ((status: number) => void) | undefined
  #fail: ((error: Error) => void) | undefined
  #read: Buffer = Buffer.alloc(0)

  constructor(port: number, tls: { ca: Buffer; cert: Buffer; key: Buffer }) {
    this.#socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ...tls })
    this.#socket.setNoDelay(true)
    this.#socket.on('data', (data) => this.#take(data))
    this.#socket.on('error', (error) => this.#fail?.(error))
    this.#socket.on('close', () => this.#fail?.(new Error('the connection was closed')))
  }

  /** Sends a request; resolves with the answer's status when its body is there. */
  ask(request: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#answer = resolve
      this.#fail = reject
      this.#socket.write(request)
    })
  }

  close(): void {
    this.#fail = undefined
    this.#socket.destroy()
  }

  #take(data: Buffer): void {
    this.#read = this.#read.length > 0 ? Buffer.concat([this.#read, data]) : data
    const end = this.#read.indexOf(END)
    if (end < 0) return
    const head = this.#read.toString('latin1', 0, end)
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN)
    if (Number.isNaN(length)) return this.#fail?.(new Error(`an answer of unknown length: ${head.slice(0, 100)}`))
    if (this.#read.length < end + END.length + length) return
    this.#read = Buffer.alloc(0)
    this.#answer?.(Number(head.slice(9, 12)))
  }
}
