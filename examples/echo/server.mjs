// echo: one server of HTTP/1.1 with WebSockets on port 8080 and of HTTP/2 without TLS, gRPC streams too, on port 8082.
// Every answer names its version and pod.
import http from 'node:http'
import http2 from 'node:http2'
import os from 'node:os'
import { WebSocketServer } from 'ws'

const me = `${process.env.VERSION ?? 'v1'} ${os.hostname()}`
const sockets = new Set()
const streams = new Set()
let stopping = false

const plain = http.createServer((request, response) => {
  streams.add(response)
  response.on('close', () => streams.delete(response))
  if (stopping) response.setHeader('Connection', 'close')
  request.resume()
  request.on('end', () => response.end(`${me}\n`))
})
plain.keepAliveTimeout = 75_000
plain.on('connection', (socket) => {
  sockets.add(socket)
  socket.on('close', () => sockets.delete(socket))
})
new WebSocketServer({ server: plain }).on('connection', (socket) => {
  streams.add(socket)
  socket.on('close', () => streams.delete(socket))
  socket.on('error', () => {})
  socket.on('message', (data) => socket.send(`${me} ${data}`))
})

const frame = (text) => {
  const body = Buffer.from(text)
  const head = Buffer.alloc(5)
  head.writeUInt32BE(body.length, 1)
  return Buffer.concat([head, body])
}
const modern = http2.createServer()
modern.on('session', (session) => {
  sockets.add(session)
  session.on('close', () => sockets.delete(session))
  session.on('error', () => {})
})
modern.on('stream', (stream, headers) => {
  stream.on('error', () => {})
  const grpc = String(headers['content-type'] ?? '').startsWith('application/grpc')
  streams.add(stream)
  stream.on('close', () => streams.delete(stream))
  if (!grpc) {
    stream.respond({ ':status': 200 })
    stream.resume()
    return stream.on('end', () => stream.end(`${me}\n`))
  }
  // Each message is answered with the name of this pod.
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
  let left = Buffer.alloc(0)
  stream.on('data', (data) => {
    left = Buffer.concat([left, data])
    while (left.length >= 5 && left.length >= 5 + left.readUInt32BE(1)) {
      left = left.subarray(5 + left.readUInt32BE(1))
      stream.write(frame(me))
    }
  })
  stream.on('end', () => stream.end())
})

plain.listen(8080, () => console.log('listening on ports 8080 and 8082'))
modern.listen(8082)
process.on('SIGTERM', () => {
  stopping = true
  for (const s of sockets) if ('goaway' in s) s.close()
  let looks = 0
  // What is under way ends first. Looks are counted, not time: where the machine stood still, nothing was heard either.
  setInterval(() => {
    looks++
    if ((streams.size === 0 && looks > 20) || looks > 400) process.exit(0)
  }, 50)
})
