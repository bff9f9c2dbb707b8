// Clients that nobody wants: slow heads, endless heads and bodies, answers never read, streams opened and reset.
// Argument: the port. Runs until it is killed.

import { connect, type Socket } from 'node:net'
import { H2Session, Output } from '#wire'

const port = Number(process.argv[2])

/** Keeps so many of a kind of client at work; each is replaced when it is let go. */
function keep(count: number, begin: (socket: Socket) => void): void {
  const one = () => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.on('error', () => {})
    socket.on('close', () => setTimeout(one, 50))
    socket.on('connect', () => begin(socket))
  }
  for (let i = 0; i < count; i++) one()
}

/** Writes a piece every so often. */
function drip(socket: Socket, piece: string | Buffer, ms: number): void {
  const timer = setInterval(() => socket.write(piece), ms)
  socket.on('close', () => clearInterval(timer))
}

const REQUEST = 'GET /hello HTTP/1.1\r\nHost: greeter\r\n'
keep(100, (socket) => {
  socket.write(REQUEST)
  drip(socket, 'X: y\r\n', 500)
})
keep(20, (socket) => {
  socket.write(REQUEST)
  drip(socket, Buffer.alloc(4096, 'x'), 20)
})
keep(20, (socket) => {
  socket.write('POST /hello HTTP/1.1\r\nHost: greeter\r\nTransfer-Encoding: chunked\r\n\r\n')
  drip(socket, `400\r\n${'x'.repeat(1024)}\r\n`, 20)
})
keep(20, (socket) => {
  socket.pause()
  socket.write(`${REQUEST}\r\n`.repeat(500))
})
keep(4, (socket) => {
  const session = new H2Session('client', new Output(socket), { onEnd: () => socket.destroy() })
  socket.on('data', (data: Buffer) => session.push(data))
  const head = [':method', 'GET', ':scheme', 'http', ':path', '/hello', ':authority', 'greeter']
  const quiet = { onData() {}, onEnd() {}, onReset() {}, onDrain() {} }
  const timer = setInterval(() => {
    for (let i = 0; i < 20 && !session.finished; i++) session.request(head, true, quiet).reset(8)
  }, 20)
  socket.on('close', () => {
    clearInterval(timer)
    session.end()
  })
})
