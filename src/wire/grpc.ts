// gRPC over HTTP/2: message framing and a client (the PROTOCOL-HTTP2 document of grpc/grpc).

import { connect as connectSocket, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Deadline, SampanError } from '#base'
import { readBytes } from './byte-reader.ts'
import { H2Code } from './h2-frames.ts'
import { H2_LIMITS, type H2Limits } from './h2-limits.ts'
import { H2Session } from './h2-session.ts'
import { Output } from './output.ts'
import type { Message, MessageType } from './protobuf.ts'

/** A method of a service. */
export interface Method {
  /** "/package.Service/Method". */
  readonly path: string
  readonly request: MessageType
  readonly response: MessageType
}

/** gRPC status codes that our code looks at. */
export const GrpcCode = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadline: 4,
  notFound: 5,
  permissionDenied: 7,
  failedPrecondition: 9,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const

/** A call that ended with a status other than OK; `grpcCode` is its number. */
export class GrpcError extends SampanError {
  readonly grpcCode: number

  constructor(grpcCode: number, message: string) {
    super('GrpcError', message)
    this.grpcCode = grpcCode
  }
}

/** What stands before a message of so many bytes: a zero byte (not compressed) and its length. */
export function messageHead(length: number): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(length, 1)
  return head
}

/** Frames a message: a zero byte (not compressed), its length, its bytes. */
export function frameMessage(body: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(5 + body.length)
  frame[0] = 0
  frame.writeUInt32BE(body.length, 1)
  frame.set(body, 5)
  return frame
}

const MAX_MESSAGE = 64 * 1024 * 1024
/** What a message may claim before its bytes come. */
const FIRST_ROOM = 64 * 1024

/** Cuts a byte stream into messages. Each is memory of its own: nothing of what was pushed is kept. */
export class MessageReader {
  readonly #head = Buffer.alloc(5)
  #headRead = 0
  #message: Buffer | undefined
  #length = 0
  #read = 0

  /** Adds bytes; returns the messages that are now whole. Fails with GrpcError on a message that is too large. */
  push(data: Buffer): Buffer[] {
    const messages: Buffer[] = []
    for (let at = 0; ; ) {
      if (!this.#message) {
        if (at === data.length) return messages
        const part = data.copy(this.#head, this.#headRead, at)
        at += part
        this.#headRead += part
        if (this.#headRead < 5) return messages
        this.#begin()
      }
      const part = Math.min(this.#length - this.#read, data.length - at)
      const message = this.#room(this.#read + part)
      data.copy(message, this.#read, at, at + part)
      at += part
      this.#read += part
      if (this.#read < this.#length) return messages
      messages.push(message)
      this.#message = undefined
      this.#headRead = 0
    }
  }

  #begin(): void {
    this.#length = this.#head.readUInt32BE(1)
    if (this.#length > MAX_MESSAGE || this.#head[0] !== 0)
      throw new GrpcError(
        GrpcCode.internal,
        `Cannot read a gRPC message: ${this.#length} bytes, compression ${this.#head[0]}`,
      )
    this.#message = Buffer.allocUnsafe(Math.min(this.#length, FIRST_ROOM))
    this.#read = 0
  }

  /** The message's memory, grown to hold so many bytes. */
  #room(needed: number): Buffer {
    const before = this.#message!
    if (needed <= before.length) return before
    const room = Buffer.allocUnsafe(Math.min(this.#length, Math.max(needed, before.length * 2)))
    before.copy(room, 0, 0, this.#read)
    this.#message = room
    return room
  }
}

/** Where a client connects: a unix socket, or a TCP address with optional TLS. */
export interface GrpcTarget {
  socketPath?: string
  host?: string
  port?: number
  tls?: { ca?: string; cert?: string; key?: string; servername?: string }
  /** Asks this often, in milliseconds, whether the peer is still there; without an answer the connection ends. */
  keepAliveMs?: number
  /** Headers of every call, computed at each call. */
  headers?: () => Record<string, string>
}

/** An open call that streams both ways. */
export interface GrpcStream {
  send(message: Message): void
  /** Ends our side; the server may still answer. */
  end(): void
  cancel(): void
}

export interface StreamEvents {
  onMessage(message: Message): void
  /** Called once; `error` is undefined when the status was OK. */
  onEnd(error: GrpcError | undefined): void
}

/** A client with one connection, made when needed and made again when lost. */
export class GrpcClient {
  readonly #target: GrpcTarget
  #connection: Connection | undefined

  constructor(target: GrpcTarget) {
    this.#target = target
  }

  /** Calls a unary method. Fails with GrpcError. */
  call(method: Method, request: Message, options: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<Message> {
    return new Promise((resolve, reject) => {
      let answer: Message | undefined
      let late = false
      const stream = this.stream(method, {
        onMessage: (m) => {
          answer = m
        },
        onEnd: (error) => {
          deadline?.cancel()
          options.signal?.removeEventListener('abort', abort)
          if (!error) resolve(answer ?? {})
          else if (late) reject(new GrpcError(GrpcCode.deadline, lateText(method, options.timeoutMs!)))
          else reject(error)
        },
      })
      const abort = () => stream.cancel()
      const expire = () => {
        late = true
        abort()
      }
      const deadline = options.timeoutMs ? new Deadline(options.timeoutMs, expire) : undefined
      options.signal?.addEventListener('abort', abort, { once: true })
      stream.send(request)
      stream.end()
    })
  }

  /** Opens a streaming call. */
  stream(method: Method, events: StreamEvents): GrpcStream {
    try {
      return this.#connected().call(method, this.#target.headers?.() ?? {}, events)
    } catch (cause) {
      queueMicrotask(() => events.onEnd(new GrpcError(GrpcCode.unavailable, (cause as Error).message)))
      return { send() {}, end() {}, cancel() {} }
    }
  }

  close(): void {
    this.#connection?.close()
    this.#connection = undefined
  }

  /** The address of the other side; undefined while there is no connection. */
  get remoteAddress(): string | undefined {
    return this.#connection?.remoteAddress
  }

  #connected(): Connection {
    if (!this.#connection || this.#connection.over) this.#connection = new Connection(this.#target)
    return this.#connection
  }
}

const lateText = (method: Method, ms: number) => `${method.path}: no answer within ${ms / 1000} s`

/** What is read of a connection before it is taken: whole lists come in one message. */
const LIMITS: H2Limits = { ...H2_LIMITS, window: 4 * 1024 * 1024, streamWindow: 4 * 1024 * 1024 }

/** One connection with its calls. */
class Connection {
  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress
  }

  readonly #socket: Socket
  readonly #session: H2Session
  readonly #authority: string
  readonly #scheme: string
  readonly #beat: NodeJS.Timeout | undefined
  #reason = 'the connection was closed'
  #ended = false

  constructor({ socketPath, host = '127.0.0.1', port = 0, tls, keepAliveMs }: GrpcTarget) {
    this.#authority = socketPath ? 'localhost' : `${host}:${port}`
    this.#scheme = tls ? 'https' : 'http'
    const socket = tls
      ? connectTls({ host, port, ALPNProtocols: ['h2'], ...(isIP(host) ? {} : { servername: host }), ...tls })
      : socketPath
        ? connectSocket(socketPath)
        : connectSocket({ host, port, noDelay: true })
    this.#socket = socket
    const output = new Output(socket)
    this.#session = new H2Session(
      'client',
      output,
      {
        onEnd: (error) => {
          if (error) this.#reason = error.message
          output.end()
          this.#end()
        },
      },
      LIMITS,
    )
    readBytes(socket, (data) => this.#session.push(data))
    socket.on('error', (error) => {
      this.#reason = error.message
    })
    socket.on('close', () => this.#end())
    let unanswered = 0
    if (!keepAliveMs) return
    const look = () => {
      if (unanswered++ > 0) {
        this.#reason = 'the server does not answer'
        this.#end()
      } else this.#session.ping(() => (unanswered = 0))
    }
    // What came while this process stood still is read first.
    this.#beat = setInterval(() => setImmediate(look), keepAliveMs).unref()
  }

  /** Whether no new call may begin here. */
  get over(): boolean {
    return this.#ended || this.#session.finished || this.#socket.destroyed
  }

  call(method: Method, headers: Readonly<Record<string, string>>, events: StreamEvents): GrpcStream {
    const fields = [':method', 'POST', ':scheme', this.#scheme, ':path', method.path, ':authority', this.#authority]
    fields.push('content-type', 'application/grpc', 'te', 'trailers', 'user-agent', 'sampan')
    for (const [name, value] of Object.entries(headers)) fields.push(name.toLowerCase(), value)
    const reader = new MessageReader()
    let status: readonly string[] = []
    let over = false
    const finish = (error: GrpcError | undefined) => {
      if (over) return
      over = true
      events.onEnd(error)
    }
    const end = () => finish(statusOf(status))
    const stream = this.#session.request(fields, false, {
      onHead: (head, last) => {
        const code = head[1]
        if (head.includes('grpc-status')) status = head
        else if (code !== '200' && !code?.startsWith('1'))
          status = ['grpc-status', '14', 'grpc-message', `HTTP status ${code}`]
        if (last) end()
      },
      onData: (data) => {
        try {
          for (const body of reader.push(data)) events.onMessage(method.response.decode(body))
        } catch (cause) {
          stream.reset(H2Code.internal)
          finish(cause instanceof GrpcError ? cause : new GrpcError(GrpcCode.internal, (cause as Error).message))
        }
      },
      onEnd: (trailers) => {
        if (trailers) status = trailers
        end()
      },
      onReset: (code) =>
        finish(
          new GrpcError(
            GrpcCode.unavailable,
            `${method.path}: ${code === H2Code.cancel ? this.#reason : `stream reset with code ${code}`}`,
          ),
        ),
      onDrain() {},
    })
    return {
      send: (m) => void stream.data(frameMessage(method.request.encode(m))),
      end: () => stream.end(),
      cancel: () => {
        stream.reset(H2Code.cancel)
        finish(new GrpcError(GrpcCode.cancelled, `${method.path}: the call was cancelled`))
      },
    }
  }

  close(): void {
    this.#end()
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    clearInterval(this.#beat)
    this.#session.end()
    this.#socket.destroy()
  }
}

/** The error that a status stands for; undefined for OK. */
function statusOf(fields: readonly string[]): GrpcError | undefined {
  let code: number = GrpcCode.unavailable
  let text = 'the call ended without a status'
  for (let i = 0; i < fields.length; i += 2)
    if (fields[i] === 'grpc-status') {
      code = Number(fields[i + 1])
      text = ''
    }
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === 'grpc-message') text = percentDecoded(fields[i + 1]!)
  return code === 0 ? undefined : new GrpcError(code, text)
}

/** A percent-encoded text; as it stands when it is not one. */
function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
