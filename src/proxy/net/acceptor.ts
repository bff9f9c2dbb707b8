// Accepts connections, finds the listener and the chain they belong to, and hands them to a protocol.

import { createServer, type Server, type Socket } from 'node:net'
import { readClientHello, readProxyLine } from '#wire'
import type { FilterChain, HttpChain, Listener } from '../config/model.ts'
import type { ProxyContext } from '../http/context.ts'
import { serveH1 } from '../http/downstream-h1.ts'
import { serveH2 } from '../http/downstream-h2.ts'
import type { Source } from '../http/source.ts'
import { type ConnectionFacts, chooseChain, needsFirstBytes } from './filter-chain.ts'
import type { Address } from './original-dst.ts'
import { sniff } from './sniff.ts'
import { type Probe, probeTcp, serveTcp } from './tcp.ts'
import { endTls } from './tls.ts'

/** A client that does not say what it wants is let go after this long. */
const HELLO_MS = 15_000
/** A client that is silent for so long may wait for a host that speaks first. */
const PROBE_MS = 100

export interface AcceptorOptions {
  readonly context: ProxyContext
  readonly port: number
  readonly host?: string
  readonly inbound: boolean
  readonly originalDestination: (socket: Socket) => Address
}

/** Takes connections that were redirected to `port`. */
export function accept(options: AcceptorOptions): Promise<Server> {
  const { context, inbound } = options
  return listen(options.host ?? '0.0.0.0', options.port, context, (socket) => {
    const address = options.originalDestination(socket)
    // Straight to the proxy's own port: nobody's destination, and a loop if followed.
    if (address.port === options.port) return void socket.destroy()
    const { config } = context
    const { host, port } = address
    const client = plain(socket.remoteAddress)
    const source = { host, port, inbound, client, remote: `${client}:${socket.remotePort}`, local: `${host}:${port}` }
    const go = () => {
      const listener = inbound ? config.listeners.get('virtualInbound') : config.outboundListener(host, port)
      if (listener && !socket.destroyed) dispatch(socket, listener, source, context)
      else socket.destroy()
    }
    if (inbound || config.knowsListener(host, port)) go()
    else config.awaitListener(host, port, go)
  })
}

/** Takes connections at a listener's own address, by the listener as it is when each arrives. */
export function acceptBound(name: string, listener: Listener, context: ProxyContext): Promise<Server> {
  let open = 0
  return listen(listener.address, listener.port, context, (socket) => {
    const now = context.config.listeners.get(name)
    if (!now || (now.maxConnections > 0 && open >= now.maxConnections)) return void socket.destroy()
    open++
    socket.on('close', () => open--)
    const client = plain(socket.remoteAddress)
    const host = plain(socket.localAddress)
    dispatch(
      socket,
      now,
      {
        host,
        port: now.port,
        inbound: now.inbound,
        client,
        remote: `${client}:${socket.remotePort}`,
        local: `${host}:${socket.localPort}`,
      },
      context,
    )
  })
}

/** An IPv4 address, also where the socket shows it as one of IPv6. */
const plain = (address: string | undefined) => (address ?? '').replace(/^::ffff:/, '')

function listen(host: string, port: number, { stats }: ProxyContext, take: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
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
    server.listen({ port, host, backlog: 4096 }, () => {
      server.off('error', reject)
      // When files run out a connection is lost, not the listener.
      server.on('error', () => {})
      resolve(server)
    })
  })
}

/** Chooses the chain, reading the first bytes where the listener asks for it. */
export function dispatch(socket: Socket, listener: Listener, source: Source, context: ProxyContext): void {
  if (listener.proxyProtocol) return readProxy(socket, listener, source, context)
  const facts: ConnectionFacts = {
    host: source.host,
    port: source.port,
    client: source.client,
    clientPort: Number(source.remote.slice(source.remote.lastIndexOf(':') + 1)),
    serverName: '',
    transport: 'raw_buffer',
    alpn: [],
  }
  const needs = needsFirstBytes(listener, facts)
  if (!needs.tls && !needs.http) return serve(socket, chooseChain(listener, facts), EMPTY, undefined, source, context)
  new Inspection(socket, needs, listener, facts, source, context)
}

const EMPTY = Buffer.alloc(0)

type Found = Pick<ConnectionFacts, 'serverName' | 'transport' | 'alpn'>

/**
 * Reads until TLS or HTTP is told apart from bytes. Where the silence of a client would be served with bytes, a host is
 * connected to meanwhile: who speaks first, the client or the host, shows what it is. A client that is only slow is so
 * never taken for one that waits.
 */
class Inspection {
  readonly #socket: Socket
  readonly #needs: { tls: boolean; http: boolean }
  readonly #listener: Listener
  readonly #facts: ConnectionFacts
  readonly #source: Source
  readonly #context: ProxyContext
  #first: Buffer = EMPTY
  #over = false
  #limit: NodeJS.Timeout
  #probing: NodeJS.Timeout | undefined
  #probe: Probe | undefined

  constructor(
    socket: Socket,
    needs: { tls: boolean; http: boolean },
    listener: Listener,
    facts: ConnectionFacts,
    source: Source,
    context: ProxyContext,
  ) {
    this.#socket = socket
    this.#needs = needs
    this.#listener = listener
    this.#facts = facts
    this.#source = source
    this.#context = context
    const silent = chooseChain(listener, facts)
    const { inspectTimeout, settlesSilence } = listener
    const decides = silent !== undefined && settlesSilence
    this.#limit = this.#after(decides ? inspectTimeout : silent ? Math.max(inspectTimeout, HELLO_MS) : HELLO_MS)
    const { chain, tls } = silent ?? {}
    if (!decides && chain?.kind === 'tcp' && !tls)
      this.#probing = setTimeout(() => {
        if (this.#first.length === 0)
          this.#probe = probeTcp(socket, chain, context, source, () => {
            this.#stop()
            return this.#first
          })
      }, PROBE_MS)
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('close', this.#stop)
  }

  /** When the time is over, what is here already is still looked at: the process may have been busy. */
  #after(ms: number): NodeJS.Timeout {
    return setTimeout(
      () => setImmediate(() => setImmediate(() => this.#first.length === 0 && this.#finish(undefined))),
      ms,
    )
  }

  readonly #onData = (data: Buffer) => {
    // Who has begun to speak is a client that speaks first: it is listened to longer.
    if (this.#first.length === 0) {
      clearTimeout(this.#limit)
      clearTimeout(this.#probing)
      this.#limit = setTimeout(() => this.#finish(undefined), HELLO_MS)
    }
    this.#first = this.#first.length === 0 ? data : Buffer.concat([this.#first, data])
    const found = this.#look()
    if (found !== 'more') this.#finish(found)
  }

  #look(): Found | 'more' | undefined {
    const first = this.#first
    if (this.#needs.tls) {
      const hello = readClientHello(first)
      if (hello === 'more') return 'more'
      if (hello !== 'none') return { serverName: hello.serverName, transport: 'tls', alpn: hello.alpn }
    }
    if (!this.#needs.http) return undefined
    const protocol = sniff(first)
    if (!protocol) return 'more'
    if (protocol === 'tcp') return undefined
    return { serverName: '', transport: 'raw_buffer', alpn: [protocol === 'http2' ? 'h2c' : 'http/1.1'] }
  }

  /** A client that says nothing and goes is nobody's, unless it waits for what its host says. */
  readonly #onEnd = () => (this.#first.length > 0 || this.#probe ? this.#finish(undefined) : this.#socket.destroy())

  readonly #stop = () => {
    this.#over = true
    clearTimeout(this.#limit)
    clearTimeout(this.#probing)
    this.#socket.off('data', this.#onData)
    this.#socket.off('end', this.#onEnd)
    this.#socket.off('close', this.#stop)
  }

  #finish(found: Found | undefined): void {
    if (this.#over) return
    this.#stop()
    const socket = this.#socket
    const ended = socket.readableEnded
    const chain = chooseChain(this.#listener, found ? { ...this.#facts, ...found } : this.#facts)
    if (this.#probe && !this.#probe.over && !found) this.#probe.take(this.#first)
    else {
      this.#probe?.leave()
      serve(socket, chain, this.#first, found, this.#source, this.#context)
    }
    // The end came while the protocol was being found out: it is told to who serves now.
    if (ended) socket.emit('end')
  }
}

function serve(
  socket: Socket,
  found: FilterChain | undefined,
  first: Buffer,
  facts: Found | undefined,
  source: Source,
  context: ProxyContext,
): void {
  if (!found) return void socket.destroy()
  const { chain, tls } = found
  if (tls) {
    endTls(socket, first, tls, context, (plain, alpn, session) => {
      const known = { ...source, tls: session }
      if (chain.kind === 'tcp') return serveTcp(plain, EMPTY, chain, context, known)
      if (alpn === 'h2' || alpn === 'istio-h2') return serveH2(plain, EMPTY, chain, context, known)
      if (alpn === '') return serveHttp(plain, EMPTY, chain, context, known)
      serveH1(plain, EMPTY, chain, context, known)
    })
    return
  }
  const named = facts?.serverName ? { ...source, tls: { ...NO_TLS, serverName: facts.serverName } } : source
  if (chain.kind === 'tcp') return serveTcp(socket, first, chain, context, named)
  serveHttp(socket, first, chain, context, source)
}

const NO_TLS = { serverName: '', version: '', peer: undefined, own: '' }

/** HTTP of the version that the first bytes are of. */
function serveHttp(socket: Socket, first: Buffer, chain: HttpChain, context: ProxyContext, source: Source): void {
  if (chain.codec === 'http1') return serveH1(socket, first, chain, context, source)
  if (chain.codec === 'http2') return serveH2(socket, first, chain, context, source)
  const go = (data: Buffer) => {
    const protocol = sniff(data)
    if (!protocol) return false
    ;(protocol === 'http2' ? serveH2 : serveH1)(socket, data, chain, context, source)
    return true
  }
  if (first.length > 0 && go(first)) return
  let read = first
  const idle = chain.idleTimeout > 0 ? setTimeout(() => socket.destroy(), chain.idleTimeout) : undefined
  const onData = (data: Buffer) => {
    read = read.length === 0 ? data : Buffer.concat([read, data])
    if (!sniff(read)) return
    stop()
    go(read)
  }
  const onEnd = () => {
    stop()
    socket.destroy()
  }
  const stop = () => {
    clearTimeout(idle)
    socket.off('data', onData)
    socket.off('end', onEnd)
    socket.off('close', stop)
  }
  socket.on('data', onData)
  socket.on('end', onEnd)
  socket.on('close', stop)
}

/** Reads the line that a load balancer sends ahead, which tells the real client. */
function readProxy(socket: Socket, listener: Listener, source: Source, context: ProxyContext): void {
  let first: Buffer = EMPTY
  const timer = setTimeout(() => socket.destroy(), HELLO_MS)
  const onData = (data: Buffer) => {
    first = first.length === 0 ? data : Buffer.concat([first, data])
    const line = readProxyLine(first)
    if (line === 'more') return
    clearTimeout(timer)
    socket.off('data', onData)
    if (line === 'bad') return void socket.destroy()
    socket.pause()
    if (line.length < first.length) socket.unshift(first.subarray(line.length))
    const told = line.client ? { client: line.client, remote: `${line.client}:${line.port}` } : {}
    dispatch(socket, { ...listener, proxyProtocol: false }, { ...source, ...told }, context)
    socket.resume()
  }
  socket.on('data', onData)
  socket.on('close', () => clearTimeout(timer))
}
