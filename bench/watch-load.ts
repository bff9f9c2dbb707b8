// Watchers of bench/watch: raw TLS connections that count the events they are sent.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { MAPS } from './api-objects.ts'

const NEWLINE = 10

interface Watchers {
  folder: string
  port: number
  watchers: number
}

let events = 0

async function open({ folder, port, watchers }: Watchers): Promise<void> {
  const read = (name: string) => readFileSync(join(folder, name))
  const tls = { ca: read('ca.crt'), cert: read('admin.crt'), key: read('admin.key') }
  for (let i = 0; i < watchers; i++)
    await new Promise<void>((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port, ...tls }, () =>
        socket.write(`GET ${MAPS}?watch=1&resourceVersion=0&timeoutSeconds=600 HTTP/1.1\r\nHost: x\r\n\r\n`),
      )
      let head = true
      socket.on('error', reject)
      socket.on('data', (data) => {
        let from = 0
        if (head) {
          head = false
          from = data.indexOf('\r\n\r\n') + 4
          resolve()
        }
        // Each event ends with a brace and a line feed; the chunks' own line feeds follow a carriage return.
        for (let at = data.indexOf(NEWLINE, from); at >= 0; at = data.indexOf(NEWLINE, at + 1))
          if (at === 0 || data[at - 1] === 0x7d) events++
      })
    })
}

process.on('message', (message: Watchers | 'count') => {
  if (message === 'count') process.send!(events)
  else
    open(message).then(
      () => process.send!('open'),
      (error) => process.send!({ error: String(error) }),
    )
})
