// Accepts redirected connections, finds the listener they belong to, and hands them to a protocol.

import { createServer, type Server, type Socket } from 'node:net'
import { readClientHello } from '#wire'
import { serveH1 } from './downstream-h1.ts'
import { serveH2 } from './downstream-h2.ts'
import type { Destination, ExchangeContext } from './exchange.ts'
import type { Chain, ChainMatch, Listener } from './model.ts'
import type { Address } from './original-dst.ts'
import { sniff } from './sniff.ts'
import { serveTcp } from './tcp.ts'
import { endTls } from './tls.ts'

/** A server-first protocol says nothing: after this long the connection counts as bytes. */
const SNIFF_MS = 100

export interface AcceptorOptions {
  context: ExchangeContext
  port: number
  host?: string
  inbound: boolean
  originalDestination: (socket: Socket) => Address
}

/** Takes connections that were redirected to `port`. */
export function accept(options: AcceptorOptions): Promise<Server> {
  const { context, inbound } = options
  return listen(options.host ?? '0.0.0.0', options.port, context, (socket) => {
    const address = options.originalDestination(socket)
    // Straight to the proxy's own port: nobody's destination, and a loop if followed.
    if (address.port === options.port) return void socket.destroy()
    const listener = inbound
      ? context.config.listeners.get('virtualInbound')
      : context.config.outboundListener(address.host, address.port)
    if (!listener) return void socket.destroy()
    dispatch(socket, listener, { ...address, inbound, client: clientOf(socket) }, context)
  })
}

/** Takes connections at a listener's own address, by the listener as it is when each arrives. */
export function acceptBound(name: string, listener: Listener, context: ExchangeContext): Promise<Server> {
  return listen(listener.address, listener.port, context, (socket) => {
    const now = context.config.listeners.get(name)
    if (!now) return void socket.destroy()
    const destination = { host: socket.localAddress ?? '', port: now.port, inbound: false, client: clientOf(socket) }
    if (now.inspectTls) dispatchTls(socket, now, destination, context)
    else dispatch(socket, now, destination, context)
  })
}

const clientOf = (socket: Socket) => (socket.remoteAddress ?? '').replace(/^::ffff:/, '')

function listen(
  host: string,
  port: number,
  { stats }: ExchangeContext,
  take: (socket: Socket) => void,
): Promise<Server> {
  const server = createServer({ noDelay: true, allowHalfOpen: true, pauseOnConnect: false }, (socket) => {
    stats.counters.downstreamConnections++
    stats.counters.downstreamActive++
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      stats.counters.downstreamActive--
    })
    take(socket)
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, host, backlog: 4096 }, () => resolve(server))
  })
}

/** A client that does not say what it wants is let go after this long. */
const HELLO_MS = 15_000

/** Chooses the chain by the name asked for in TLS; plain connections go to chains without TLS. */
function dispatchTls(socket: Socket, listener: Listener, destination: Destination, context: ExchangeContext): void {
  let first: Buffer = Buffer.alloc(0)
  const timer = setTimeout(() => socket.destroy(), HELLO_MS)
  const onData = (data: Buffer) => {
    first = first.length === 0 ? data : Buffer.concat([first, data])
    const hello = readClientHello(first)
    if (hello === 'more') return
    clearTimeout(timer)
    socket.off('data', onData)
    socket.off('end', onEnd)
    socket.pause()
    if (hello === 'none') {
      socket.unshift(first)
      const plain = { ...listener, chains: listener.chains.filter((c) => !c.tls && c.serverNames.length === 0) }
      dispatch(socket, plain, destination, context)
      socket.resume()
      return
    }
    const match = chainForName(listener, hello.serverName)
    if (!match) return void socket.destroy()
    const { chain, tls } = match
    if (!tls) {
      serve(socket, chain, first, 'tcp', destination, context)
      socket.resume()
      return
    }
    endTls(socket, first, tls, context.config.secrets, (plain, alpn) =>
      serve(plain, chain, Buffer.alloc(0), alpn === 'h2' ? 'http2' : 'http1', { ...destination, tls: true }, context),
    )
  }
  const onEnd = () => {
    clearTimeout(timer)
    socket.destroy()
  }
  socket.on('data', onData)
  socket.on('end', onEnd)
}

/** The chain whose names fit best: the name itself, then the longest "*.suffix", then any. */
function chainForName(listener: Listener, name: string): ChainMatch | undefined {
  const rank = (c: ChainMatch): number => {
    if (c.serverNames.length === 0) return 0
    return Math.max(
      ...c.serverNames.map((n) =>
        n === name ? 1000 : n.startsWith('*.') && name.endsWith(n.slice(1)) ? n.length : -1,
      ),
    )
  }
  return listener.chains
    .filter((c) => (c.tls || c.serverNames.length > 0) && rank(c) >= 0)
    .reduce<ChainMatch | undefined>((best, c) => (best && rank(best) >= rank(c) ? best : c), undefined)
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
  // A client that says nothing and goes is nobody's.
  const onEnd = () => (first.length === 0 ? finish(undefined) : finish('tcp'))
  const finish = (protocol: 'http1' | 'http2' | 'tcp' | undefined) => {
    clearTimeout(timer)
    socket.off('data', onData)
    socket.off('end', onEnd)
    if (!protocol) return void socket.destroy()
    const ended = socket.readableEnded
    done(first, protocol)
    // The end came while the protocol was being found out: it is told to who serves now.
    if (ended) socket.emit('end')
  }
  socket.on('data', onData)
  socket.on('end', onEnd)
}
