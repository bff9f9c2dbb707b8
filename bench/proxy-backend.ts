// Servers that answer every request with the same bytes, as cheaply as Node can. Arguments: kind, port, folder.

import { readFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { createServer as createTls } from 'node:tls'
import { H2Session, Output } from '#wire'
import { ANSWER, BODY } from './proxy-answer.ts'

const [kind = 'http1', port = '0', folder = ''] = process.argv.slice(2)

function http1(socket: Socket): void {
  socket.setNoDelay(true)
  socket.on('error', () => {})
  socket.on('data', (data) => {
    // Requests of the benchmark have no bodies: each ends with an empty line.
    let at = -1
    let count = 0
    while ((at = data.indexOf('\r\n\r\n', at + 1)) >= 0) count++
    socket.write(count === 1 ? ANSWER : ANSWER.repeat(count))
  })
}

const frame = Buffer.concat([Buffer.from([0, 0, 0, BODY.length >> 8, BODY.length & 255]), BODY])

function http2(socket: Socket): void {
  socket.setNoDelay(true)
  socket.on('error', () => {})
  const session = new H2Session('server', new Output(socket), {
    onRequest(stream, fields) {
      const grpc = fields.includes('application/grpc')
      const answer = () => {
        if (!grpc) {
          stream.head([':status', '200', 'content-type', 'text/plain', 'content-length', '1024'], false)
          stream.data(BODY)
          return stream.end()
        }
        stream.head([':status', '200', 'content-type', 'application/grpc'], false)
        stream.data(frame)
        stream.end(['grpc-status', '0'])
      }
      if (stream.remoteEnded) return answer()
      stream.events = { onData() {}, onEnd: answer, onReset() {}, onDrain() {} }
    },
    onEnd: () => socket.destroy(),
  })
  socket.on('data', (data: Buffer) => session.push(data))
  socket.on('close', () => session.end())
}

/** Sends bytes as long as they are taken. */
function source(socket: Socket): void {
  const block = Buffer.alloc(256 * 1024, 'x')
  const fill = () => {
    while (!socket.destroyed && socket.write(block));
  }
  socket.on('error', () => {})
  socket.on('drain', fill)
  fill()
}

const listener = { http1, http2, source }[kind]
const ready = () => process.send?.('ready')
if (listener) createServer({ noDelay: true }, listener).listen(Number(port), '127.0.0.1', ready)
else {
  const pem = (name: string) => readFileSync(join(folder, name))
  createTls(
    {
      cert: pem('server.crt'),
      key: pem('server.key'),
      ca: pem('ca.crt'),
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['http/1.1'],
    },
    http1,
  ).listen(Number(port), '127.0.0.1', ready)
}
