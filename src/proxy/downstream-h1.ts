// HTTP/1.1 from clients: requests in turn, answers in the same order.

import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { H1Error, type H1Head, H1Parser, writeHead } from '#wire'
import { type Destination, Exchange, type ExchangeContext } from './exchange.ts'
import { type Downstream, endToEnd, fieldOf, type HttpRequest } from './http.ts'
import type { HttpChain } from './model.ts'

const LAST_CHUNK = Buffer.from('0\r\n\r\n')
const CRLF = Buffer.from('\r\n')

/** Serves a connection until it ends. `first` is what has been read of it. */
export function serveH1(
  socket: Socket,
  first: Buffer,
  chain: HttpChain,
  context: ExchangeContext,
  destination: Destination,
): void {
  let exchange: Exchange | undefined
  let head: H1Head | undefined
  let chunked = false
  let keepAlive = true
  let responseDone = true
  let requestDone = true
  let tunnel = false

  /** Both directions are over: the next request may come. */
  const turn = () => {
    if (!responseDone || !requestDone || tunnel) return
    exchange = undefined
    if (!keepAlive) return void socket.end()
    socket.resume()
    parser.next()
  }
  const downstream: Downstream = {
    respond(status, fields, end) {
      if (status === 101) {
        tunnel = true
        parser.tunnel()
        socket.write(writeHead('HTTP/1.1 101 Switching Protocols', fields), 'latin1')
        const rest = parser.takeRest()
        if (rest.length > 0) exchange?.data(rest)
        return
      }
      const noBody = end || head!.method === 'HEAD' || status === 204 || status === 304
      const out = [...fields]
      const length = fieldOf(fields, 'content-length')
      chunked = !noBody && length === undefined && head!.minor === 1
      if (chunked) out.push('transfer-encoding', 'chunked')
      else if (!noBody && length === undefined) keepAlive = false
      else if (noBody && end && length === undefined && head!.method !== 'HEAD' && status !== 204 && status !== 304)
        out.push('content-length', '0')
      // A request that was not read to its end cannot be followed by another.
      if (!requestDone && end) keepAlive = false
      if (!keepAlive) out.push('connection', 'close')
      else if (head!.minor === 0) out.push('connection', 'keep-alive')
      socket.write(writeHead(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`, out), 'latin1')
      if (end) {
        responseDone = true
        if (!requestDone) socket.end()
        else turn()
      }
    },
    data(chunk) {
      if (!chunked || tunnel) return socket.write(chunk)
      socket.cork()
      socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1')
      socket.write(chunk)
      const more = socket.write(CRLF)
      socket.uncork()
      return more
    },
    end(trailers) {
      if (tunnel) return void socket.end()
      if (chunked) socket.write(trailers?.length ? `0\r\n${writeHead('', trailers).slice(2)}` : LAST_CHUNK)
      responseDone = true
      if (!requestDone) keepAlive = false
      if (!requestDone) socket.end()
      turn()
    },
    abort: () => socket.destroy(),
    pauseRequest: () => socket.pause(),
    resumeRequest: () => socket.resume(),
  }
  const parser = new H1Parser('request', {
    onHead(h, hasBody) {
      head = h
      requestDone = !hasBody
      responseDone = false
      const connection = fieldOf(h.fields, 'connection')?.toLowerCase() ?? ''
      keepAlive = h.minor === 1 ? !connection.includes('close') : connection.includes('keep-alive')
      const request = toRequest(h, hasBody)
      if (fieldOf(h.fields, 'expect')?.toLowerCase() === '100-continue' && hasBody)
        socket.write('HTTP/1.1 100 Continue\r\n\r\n')
      exchange = new Exchange(context, chain, request, downstream, destination)
    },
    onData: (data) => exchange?.data(data),
    onEnd(trailers) {
      requestDone = true
      exchange?.end(trailers)
      turn()
    },
  })
  const take = (data: Buffer) => {
    try {
      parser.push(data)
    } catch (error) {
      const status = error instanceof H1Error ? error.status : 400
      exchange?.cancel()
      socket.end(
        writeHead(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`, ['content-length', '0', 'connection', 'close']),
      )
    }
  }
  socket.on('data', take)
  socket.on('drain', () => exchange?.drained())
  socket.on('end', () => {
    if (tunnel) exchange?.end(undefined)
    else if (responseDone) socket.end()
    else keepAlive = false
  })
  socket.on('close', () => exchange?.cancel())
  if (first.length > 0) take(first)
}

const EXPECT = new Set(['expect'])

function toRequest(head: H1Head, hasBody: boolean): HttpRequest {
  let { target } = head
  let authority = ''
  let hosts = 0
  for (let i = 0; i < head.fields.length; i += 2)
    if (head.fields[i] === 'host') {
      authority = head.fields[i + 1]!
      hosts++
    }
  if (hosts > 1 || (hosts === 0 && head.minor === 1))
    throw new H1Error(400, 'Cannot read a request: it must have one host field')
  if (!target.startsWith('/') && target !== '*') {
    const m = /^https?:\/\/([^/?#]+)([/?#].*)?$/i.exec(target)
    if (!m || head.method === 'CONNECT')
      throw new H1Error(head.method === 'CONNECT' ? 405 : 400, 'Cannot read a request: bad target')
    authority = m[1]!
    target = m[2]?.startsWith('/') ? m[2] : `/${m[2] ?? ''}`
  }
  const upgrade = fieldOf(head.fields, 'upgrade')
  const wantsUpgrade =
    upgrade !== undefined &&
    // What follows a request with a body would not be framed any more.
    !hasBody &&
    upgrade.toLowerCase() !== 'h2c' &&
    (fieldOf(head.fields, 'connection') ?? '').toLowerCase().includes('upgrade')
  const fields = endToEnd(head.fields, EXPECT)
  if (wantsUpgrade) fields.push('upgrade', upgrade)
  return {
    method: head.method,
    path: target,
    authority,
    scheme: 'http',
    fields,
    hasBody,
    protocol: head.minor === 1 ? 'HTTP/1.1' : 'HTTP/1.0',
  }
}
