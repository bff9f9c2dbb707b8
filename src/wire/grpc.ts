// gRPC over HTTP/2: message framing, a client and a server (the PROTOCOL-HTTP2 document of grpc/grpc).

import http2 from 'node:http2'
import { connect as connectSocket } from 'node:net'
import { SampanError } from '#base'
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
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  permissionDenied: 7,
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

/** Frames a message: a zero byte (not compressed), its length, its bytes. */
export function frameMessage(body: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(5 + body.length)
  frame[0] = 0
  frame.writeUInt32BE(body.length, 1)
  frame.set(body, 5)
  return frame
}

const MAX_MESSAGE = 64 * 1024 * 1024

/** Cuts a byte stream into messages. */
export class MessageReader {
  #buffer: Buffer = Buffer.alloc(0)

  /** Adds bytes; returns the messages that are now whole. Fails with GrpcError on a message that is too large. */
  push(data: Buffer): Buffer[] {
    this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data])
    const messages: Buffer[] = []
    while (this.#buffer.length >= 5) {
      const length = this.#buffer.readUInt32BE(1)
      if (length > MAX_MESSAGE || this.#buffer[0] !== 0)
        throw new GrpcError(
          GrpcCode.internal,
          `Cannot read a gRPC message: ${length} bytes, compression ${this.#buffer[0]}`,
        )
      if (this.#buffer.length < 5 + length) break
      messages.push(this.#buffer.subarray(5, 5 + length))
      this.#buffer = this.#buffer.subarray(5 + length)
    }
    return messages
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
  #session: http2.ClientHttp2Session | undefined

  constructor(target: GrpcTarget) {
    this.#target = target
  }

  /** Calls a unary method. Fails with GrpcError. */
  call(method: Method, request: Message, options: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<Message> {
    return new Promise((resolve, reject) => {
      let answer: Message | undefined
      const stream = this.stream(method, {
        onMessage: (m) => {
          answer = m
        },
        onEnd: (error) => {
          clearTimeout(timer)
          options.signal?.removeEventListener('abort', abort)
          if (error) reject(error)
          else resolve(answer ?? {})
        },
      })
      const abort = () => stream.cancel()
      const timer = options.timeoutMs ? setTimeout(abort, options.timeoutMs) : undefined
      options.signal?.addEventListener('abort', abort, { once: true })
      stream.send(request)
      stream.end()
    })
  }

  /** Opens a streaming call. */
  stream(method: Method, events: StreamEvents): GrpcStream {
    let ended = false
    const finish = (error: GrpcError | undefined) => {
      if (ended) return
      ended = true
      events.onEnd(error)
    }
    let request: http2.ClientHttp2Stream
    try {
      request = this.#connected().request({
        ':method': 'POST',
        ':path': method.path,
        'content-type': 'application/grpc',
        te: 'trailers',
        ...this.#target.headers?.(),
      })
    } catch (cause) {
      queueMicrotask(() => finish(new GrpcError(GrpcCode.unavailable, (cause as Error).message)))
      return { send() {}, end() {}, cancel() {} }
    }
    const reader = new MessageReader()
    let status: http2.IncomingHttpHeaders = {}
    request.on('response', (headers) => {
      if (headers['grpc-status'] !== undefined) status = headers
      else if (headers[':status'] !== 200)
        status = { 'grpc-status': '14', 'grpc-message': `HTTP status ${headers[':status']}` }
    })
    request.on('data', (data: Buffer) => {
      try {
        for (const body of reader.push(data)) events.onMessage(method.response.decode(body))
      } catch (cause) {
        request.close(http2.constants.NGHTTP2_INTERNAL_ERROR)
        finish(cause instanceof GrpcError ? cause : new GrpcError(GrpcCode.internal, (cause as Error).message))
      }
    })
    request.on('trailers', (headers) => {
      status = headers
    })
    request.on('error', (cause) => finish(new GrpcError(GrpcCode.unavailable, `${method.path}: ${cause.message}`)))
    request.on('close', () => {
      const code = status['grpc-status'] === undefined ? GrpcCode.unavailable : Number(status['grpc-status'])
      const text = decodeURIComponent(String(status['grpc-message'] ?? 'the call ended without a status'))
      finish(code === 0 ? undefined : new GrpcError(code, text))
    })
    return {
      send: (m) => {
        if (!request.closed && !request.destroyed) request.write(frameMessage(method.request.encode(m)))
      },
      end: () => request.end(),
      cancel: () => request.close(http2.constants.NGHTTP2_CANCEL),
    }
  }

  close(): void {
    this.#session?.destroy()
    this.#session = undefined
  }

  #connected(): http2.ClientHttp2Session {
    if (this.#session && !this.#session.closed && !this.#session.destroyed) return this.#session
    const { socketPath, host = '127.0.0.1', port = 0, tls } = this.#target
    const authority = tls ? `https://${host}:${port}` : `http://${socketPath ? 'localhost' : `${host}:${port}`}`
    const session = http2.connect(authority, {
      ...(socketPath ? { createConnection: () => connectSocket(socketPath) } : {}),
      ...tls,
    })
    session.once('connect', () => session.setLocalWindowSize(4 * 1024 * 1024))
    let unanswered = 0
    const beat = this.#target.keepAliveMs
      ? setInterval(() => {
          if (unanswered++ > 0) return session.destroy()
          if (!session.connecting) session.ping(() => (unanswered = 0))
        }, this.#target.keepAliveMs).unref()
      : undefined
    const forget = () => {
      clearInterval(beat)
      if (this.#session === session) this.#session = undefined
    }
    session.on('error', forget)
    session.on('close', forget)
    session.on('goaway', forget)
    this.#session = session
    return session
  }
}

/** One call as a server sees it. */
export interface ServerCall {
  readonly headers: http2.IncomingHttpHeaders
  readonly peer: string
  send(message: Message): void
  /** Ends the call with a status. */
  end(code?: number, message?: string): void
  onMessage: (message: Message) => void
  /** The client has ended its side. */
  onEnd: () => void
  /** The call is over. */
  onClose: () => void
  /** Bytes not yet taken by the client. */
  readonly backlog: number
}

/** Serves methods on an HTTP/2 server; other paths are answered with UNIMPLEMENTED. */
export function serveGrpc(
  server: http2.Http2Server | http2.Http2SecureServer,
  methods: readonly { method: Method; handle: (call: ServerCall) => void }[],
): void {
  const byPath = new Map(methods.map((m) => [m.method.path, m]))
  server.on('stream', (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
    stream.on('error', () => {})
    const entry = byPath.get(String(headers[':path']))
    if (!entry || !String(headers['content-type']).startsWith('application/grpc')) {
      stream.respond(
        { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '12', 'grpc-message': 'unknown method' },
        { endStream: true },
      )
      return
    }
    let status = { code: 0, text: '' }
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('wantTrailers', () =>
      stream.sendTrailers({
        'grpc-status': String(status.code),
        ...(status.text ? { 'grpc-message': encodeURIComponent(status.text) } : {}),
      }),
    )
    const reader = new MessageReader()
    const call: ServerCall = {
      headers,
      peer: stream.session?.socket.remoteAddress ?? '',
      send: (m) => {
        if (!stream.closed && !stream.destroyed) stream.write(frameMessage(entry.method.response.encode(m)))
      },
      end: (code = 0, text = '') => {
        status = { code, text }
        if (!stream.writableEnded) stream.end()
      },
      get backlog() {
        return stream.writableLength
      },
      onMessage: () => {},
      onEnd: () => {},
      onClose: () => {},
    }
    stream.on('data', (data: Buffer) => {
      try {
        for (const body of reader.push(data)) call.onMessage(entry.method.request.decode(body))
      } catch (cause) {
        call.end(GrpcCode.invalidArgument, (cause as Error).message)
      }
    })
    stream.on('end', () => call.onEnd())
    stream.on('close', () => call.onClose())
    entry.handle(call)
  })
}
