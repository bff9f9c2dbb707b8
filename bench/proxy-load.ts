// Requests over keep-alive connections, one after the other on each; plain or with TLS.

import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'

const REQUEST = 'GET /hello HTTP/1.1\r\nHost: greeter\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n'

export interface LoadOptions {
  readonly port: number
  readonly connections: number
  readonly total: number
  /** Certificates of the client; plain without. */
  readonly folder?: string
  /** Requests a second in all; as many as go without. */
  readonly rate?: number
}

/** Runs a load; returns the latency of each request, milliseconds. */
export async function load({ port, connections, total, folder, rate }: LoadOptions): Promise<number[]> {
  let left = total
  const times: number[] = []
  const begun = performance.now()
  let issued = 0
  const open = (): Socket => {
    if (!folder) return connect({ port, host: '127.0.0.1', noDelay: true })
    const pem = (name: string) => readFileSync(join(folder, name))
    return connectTls({
      port,
      host: '127.0.0.1',
      ca: pem('ca.crt'),
      cert: pem('admin.crt'),
      key: pem('admin.key'),
      servername: 'localhost',
    })
  }
  await Promise.all(
    Array.from(
      { length: connections },
      () =>
        new Promise<void>((resolve, reject) => {
          const socket = open()
          let need = 0
          let got = 0
          let sent = 0
          const send = () => {
            sent = performance.now()
            socket.write(REQUEST)
          }
          const next = () => {
            if (left-- <= 0) {
              socket.end()
              return resolve()
            }
            need = 0
            got = 0
            if (!rate) return send()
            const due = begun + (issued++ / rate) * 1000 - performance.now()
            if (due > 0) setTimeout(send, due)
            else send()
          }
          socket.on(folder ? 'secureConnect' : 'connect', () => {
            socket.setNoDelay(true)
            next()
          })
          socket.on('error', reject)
          socket.on('close', () => resolve())
          socket.on('data', (data) => {
            got += data.length
            if (need === 0) {
              const text = data.toString('latin1')
              const end = text.indexOf('\r\n\r\n')
              if (end < 0) return
              if (!text.startsWith('HTTP/1.1 200')) return reject(new Error(text.slice(0, 100)))
              need = end + 4 + Number(/content-length: (\d+)/i.exec(text)![1])
            }
            if (got < need) return
            times.push(performance.now() - sent)
            next()
          })
        }),
    ),
  )
  return times
}
