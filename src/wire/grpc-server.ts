// A server of gRPC on Node's own HTTP/2. It stands apart: who only calls does not load that.

import type http2 from 'node:http2'
import { frameMessage, GrpcCode, MessageReader, type Method } from './grpc.ts'
import type { Message } from './protobuf.ts'

/** One call as a server sees it. */
export interface ServerCall {
  readonly headers: http2.IncomingHttpHeaders
  readonly peer: string
  /** Whether it came over TLS. */
  readonly secure: boolean
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
      secure: stream.session?.encrypted ?? false,
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
