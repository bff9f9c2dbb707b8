// Through an HTTP proxy to another place: CONNECT, or a POST whose bodies are the two directions (Envoy's tunneling_config).

import { request } from 'node:http'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import type { Tunnel } from '../config/model.ts'

/** A proxy's answer to CONNECT is no longer than this, bytes. */
const HEAD_MAX = 16 * 1024

/** Asks a proxy, to which there is a connection, for a way; `done` with it. A refusal ends the connection. */
export function openTunnel(proxy: Socket, { to, post }: Tunnel, done: (stream: Duplex) => void): void {
  if (post) openPost(proxy, to, done)
  else openConnect(proxy, to, done)
}

/** RFC 9110, 9.3.6. What the other side says at once stays to be read. */
function openConnect(proxy: Socket, to: string, done: (stream: Duplex) => void): void {
  let head = Buffer.alloc(0)
  const refuse = () => proxy.destroy()
  const take = (data: Buffer) => {
    head = Buffer.concat([head, data])
    const end = head.indexOf('\r\n\r\n')
    if (end < 0) {
      if (head.length > HEAD_MAX) refuse()
      return
    }
    if (!/^HTTP\/1\.[01] 2\d\d[ \r]/.test(head.toString('latin1', 0, 16))) return refuse()
    proxy.off('data', take)
    proxy.off('end', refuse)
    proxy.pause()
    const rest = head.subarray(end + 4)
    if (rest.length > 0) proxy.unshift(rest)
    done(proxy)
  }
  proxy.on('data', take)
  proxy.on('end', refuse)
  proxy.write(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\n`)
}

function openPost(proxy: Socket, to: string, done: (stream: Duplex) => void): void {
  const asked = request({ createConnection: () => proxy, method: 'POST', path: '/', headers: { host: to } })
  asked.on('error', () => proxy.destroy())
  asked.on('response', (answer) => {
    const { statusCode = 0 } = answer
    if (statusCode < 200 || statusCode > 299) return void proxy.destroy()
    const stream = Duplex.from({ writable: asked, readable: answer })
    stream.on('error', () => proxy.destroy())
    done(stream)
  })
  asked.flushHeaders()
}
