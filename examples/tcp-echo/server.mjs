// tcp-echo: answers each line with a word before it. Arguments: ports, "9000,9001", and the word.
import { createServer } from 'node:net'

const [ports = '9000', word = 'hello'] = process.argv.slice(2)
for (const port of ports.split(',').map(Number)) {
  const server = createServer((socket) => {
    let left = ''
    socket.setEncoding('utf8')
    socket.on('error', () => {})
    socket.on('data', (text) => {
      const lines = (left + text).split('\n')
      left = lines.pop().slice(-65536)
      for (const line of lines) {
        console.log(`request: ${line}`)
        socket.write(`${word} ${line}\n`)
      }
    })
  })
  server.listen(port, () => console.log(`listening on [::]:${port}, prefix: ${word}`))
}
process.on('SIGTERM', () => process.exit(0))
