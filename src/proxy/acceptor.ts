// Accepts redirected connections, finds the listener they belong to, and hands them to a protocol.

import { createServer, type Server, type Socket } from 'node:net'
import { serveH1 } from './downstream-h1.ts'
import { serveH2 } from './downstream-h2.ts'
import type { Destination, ExchangeContext } from './exchange.ts'
import type { Chain, Listener } from './model.ts'
import type { Address } from './original-dst.ts'
import { sniff } from './sniff.ts'
import { serveTcp } from './tcp.ts'

/** A server-first protocol says nothing: after this long the connection counts as bytes. */
const SNIFF_MS = 100

export interface AcceptorOptions {
  context: ExchangeContext
  port: number
  host?: string
  inbound: boolean
  originalDestination: (socket: Socket) => Address
}

export function accept(options: AcceptorOptions): Promise<Server> {
  const { context, inbound } = options
  const server = createServer({ noDelay: true, allowHalfOpen: true, pauseOnConnect: false }, (socket) => {
    context.stats.counters.downstreamConnections++
    context.stats.counters.downstreamActive++
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      context.stats.counters.downstreamActive--
    })
    const address = options.originalDestination(socket)
    // Straight to the proxy's own port: nobody's destination, and a loop if followed.
    if (address.port === options.port) return void socket.destroy()
    const destination: Destination = { ...address, inbound }
    const listener = inbound
      ? context.config.listeners.get('virtualInbound')
      : context.config.outboundListener(address.host, address.port)
    if (!listener) return void socket.destroy()
    dispatch(socket, listener, destination, context)
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port: options.port, host: options.host ?? '0.0.0.0', backlog: 4096 }, () => resolve(server))
  })
}

/** Chooses the chain, reading the first bytes where the listener asks for it. */
export function dispatch(socket: Socket, listener: Listener, destination: Destination, context: ExchangeContext): void {
  const byPort = listener.chains.filter((c) => c.port === 0 || c.port === destination.port)
  const exact = byPort.filter((c) => c.port === destination.port && c.port !== 0)
  const candidates = exact.length > 0 ? exact : byPort.filter((c) => c.port === 0)
  const plain = candidates.find((c) => c.alpn.length === 0)?.chain ?? (exact.length > 0 ? undefined : listener.fallback)
  const http = candidates.find(
    (c) => c.chain.kind === 'http' && (c.alpn.length === 0 || c.alpn.includes('http/1.1')),
  )?.chain
  if (http?.kind !== 'http') return serve(socket, plain, Buffer.alloc(0), 'tcp', destination, context)
  // HTTP was promised: wait for it as long as it takes. Otherwise only for a moment.
  const promised = candidates.every((c) => c.alpn.length === 0)
  readFirst(socket, promised ? 0 : SNIFF_MS, (first, protocol) => {
    if (protocol === 'tcp' && !promised) serve(socket, plain, first, 'tcp', destination, context)
    else serve(socket, http, first, protocol, destination, context)
  })
}

function serve(
  socket: Socket,
  chain: Chain | undefined,
  first: Buffer,
  protocol: 'http1' | 'http2' | 'tcp',
  destination: Destination,
  context: ExchangeContext,
): void {
  if (!chain) return void socket.destroy()
  if (chain.kind === 'tcp') return serveTcp(socket, first, chain.cluster, context, destination)
  if (protocol !== 'http2') return serveH1(socket, first, chain, context, destination)
  socket.removeAllListeners('data')
  socket.pause()
  if (first.length > 0) socket.unshift(first)
  serveH2(socket, chain, context, destination)
}

/** Reads until the protocol is clear. `patience` 0 waits for ever. */
function readFirst(
  socket: Socket,
  patience: number,
  done: (first: Buffer, protocol: 'http1' | 'http2' | 'tcp') => void,
): void {
  let first: Buffer = Buffer.alloc(0)
  const timer = patience > 0 ? setTimeout(() => finish('tcp'), patience) : undefined
  const onData = (data: Buffer) => {
    first = first.length === 0 ? data : Buffer.concat([first, data])
    const protocol = sniff(first)
    if (protocol) finish(protocol)
  }
  const onEnd = () => finish('tcp')
  const finish = (protocol: 'http1' | 'http2' | 'tcp') => {
    clearTimeout(timer)
    socket.off('data', onData)
    socket.off('end', onEnd)
    done(first, protocol)
  }
  socket.on('data', onData)
  socket.on('end', onEnd)
}
