// A server of gRPC on our own HTTP/2: many connections that are mostly silent cost little.

import type { Server, Socket } from 'node:net'
import { readBytes } from './byte-reader.ts'
import { frameMessage, GrpcCode, MessageReader, type Method, messageHead } from './grpc.ts'
import { H2Code } from './h2-frames.ts'
import { H2Session } from './h2-session.ts'
import type { H2Stream } from './h2-stream.ts'
import { Output } from './output.ts'
import type { Message } from './protobuf.ts'

/** One call as a server sees it. */
export interface ServerCall {
  readonly headers: Readonly<Record<string, string>>
  /** The address of the other side. */
  readonly peer: string
  /** Whether it came over TLS. */
  readonly secure: boolean
  send(message: Message): void
  /** Sends a message that is encoded already, in pieces; they must not change any more. */
  sendParts(parts: readonly Uint8Array[]): void
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

/** A method and what answers its calls. */
export interface Served {
  readonly method: Method
  handle(call: ServerCall): void
}

/** A peer that does not answer for this long is gone. */
const BEAT_MS = 60_000

/** Serves methods on a server of sockets, with TLS or without; other paths are answered with UNIMPLEMENTED. */
export function serveGrpc(server: Server, methods: readonly Served[]): { destroy(): void } {
  const byPath = new Map(methods.map((m) => [m.method.path, m]))
  const connections = new Set<Connection>()
  const secure = 'setSecureContext' in server
  server.on(secure ? 'secureConnection' : 'connection', (socket: Socket) => {
    const connection = new Connection(socket, byPath, secure)
    connections.add(connection)
    socket.on('close', () => connections.delete(connection))
  })
  const beat = setInterval(() => {
    for (const connection of connections) connection.beat()
  }, BEAT_MS).unref()
  server.on('close', () => clearInterval(beat))
  return {
    destroy: () => {
      for (const connection of connections) connection.destroy()
    },
  }
}

class Connection {
  readonly #socket: Socket
  readonly #session: H2Session
  #unanswered = 0

  constructor(socket: Socket, byPath: ReadonlyMap<string, Served>, secure: boolean) {
    this.#socket = socket
    socket.setNoDelay(true)
    const output = new Output(socket)
    this.#session = new H2Session('server', output, {
      onRequest: (stream, fields, end) => {
        const headers: Record<string, string> = {}
        for (let i = 0; i < fields.length; i += 2) headers[fields[i]!] ??= fields[i + 1]!
        const served = byPath.get(headers[':path'] ?? '')
        const grpc = headers['content-type']?.startsWith('application/grpc')
        if (!served || !grpc || headers[':method'] !== 'POST') {
          stream.head([':status', '200', ...TYPE, 'grpc-status', '12', 'grpc-message', 'unknown method'], true)
          if (!end) stream.reset(H2Code.noError)
          return
        }
        answer(stream, end, headers, { peer: socket.remoteAddress ?? '', secure, output, served })
      },
      onEnd: () => {
        output.end()
        setTimeout(() => socket.destroy(), 500).unref()
      },
    })
    readBytes(socket, (data) => this.#session.push(data))
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#session.end())
  }

  /** Asks whether the peer is there; one that has not answered since the last time is let go. */
  beat(): void {
    if (this.#unanswered++ > 0) return this.destroy()
    this.#session.ping(() => {
      this.#unanswered = 0
    })
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

const TYPE = ['content-type', 'application/grpc']

interface Place {
  readonly peer: string
  readonly secure: boolean
  readonly output: Output
  readonly served: Served
}

function answer(stream: H2Stream, end: boolean, headers: Readonly<Record<string, string>>, place: Place): void {
  const { peer, secure, output, served } = place
  const { request, response } = served.method
  const reader = new MessageReader()
  let over = false
  let begun = false
  // With the first message: who opens streams and resets them before that is counted.
  const begin = () => {
    if (!begun) stream.head([':status', '200', ...TYPE], false)
    begun = true
  }
  const close = () => {
    if (over) return
    over = true
    call.onClose()
  }
  const call: ServerCall = {
    headers,
    peer,
    secure,
    send: (m) => {
      begin()
      stream.data(frameMessage(response.encode(m)))
    },
    sendParts: (parts) => {
      begin()
      const [first = new Uint8Array(), ...rest] = parts
      stream.data(Buffer.concat([messageHead(parts.reduce((sum, p) => sum + p.length, 0)), first]))
      for (const part of rest) stream.data(part)
    },
    end: (code = 0, text = '') => {
      if (stream.over) return
      begin()
      stream.end(['grpc-status', String(code), ...(text ? ['grpc-message', encodeURIComponent(text)] : [])])
      // What the client still sends is not wanted.
      if (!stream.remoteEnded) setImmediate(() => stream.refuseRest())
      close()
    },
    get backlog() {
      return output.backlog
    },
    onMessage: () => {},
    onEnd: () => {},
    onClose: () => {},
  }
  stream.events = {
    onData: (data) => {
      try {
        for (const body of reader.push(data)) call.onMessage(request.decode(body))
      } catch (cause) {
        call.end(GrpcCode.invalidArgument, (cause as Error).message)
      }
    },
    onEnd: () => call.onEnd(),
    onReset: close,
    onDrain: () => {},
  }
  served.handle(call)
  if (end) call.onEnd()
}
