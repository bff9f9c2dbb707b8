// A server that answers every request with the same bytes, as cheaply as Node can.

import { createServer } from 'node:net'

const answer = process.env.ANSWER ?? 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {})
  socket.on('data', (data) => {
    // Requests of the benchmark have no bodies: each ends with an empty line.
    let at = -1
    let count = 0
    while ((at = data.indexOf('\r\n\r\n', at + 1)) >= 0) count++
    socket.write(count === 1 ? answer : answer.repeat(count))
  })
}).listen(Number(process.argv[2]), '127.0.0.1')
