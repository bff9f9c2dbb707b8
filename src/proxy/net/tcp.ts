// Byte streams: from a client to a host and back, with back-pressure and half-closes.

import type { OnReadOpts, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { writeProxyLine } from '#wire'
import type { TcpChain } from '../config/model.ts'
import type { ProxyContext } from '../http/context.ts'
import { pickCluster } from '../http/route.ts'
import { endsOf, type Source } from '../http/source.ts'
import { UNKNOWN_PEER } from '../telemetry/peer.ts'
import { connectionInfo, type StreamInfo } from '../telemetry/stream-info.ts'
import type { ClusterState } from '../upstream/cluster-state.ts'
import { transportFor, usableEvent } from '../upstream/connector.ts'
import { hashText } from '../upstream/hash.ts'
import type { Host } from '../upstream/host.ts'
import { openTunnel } from './tunnel.ts'

/** Connects a client to one of a chain's clusters. `first` is what has been read of the client. */
export function serveTcp(client: Socket, first: Buffer, chain: TcpChain, context: ProxyContext, source: Source): void {
  const stream = new TcpStream(client, chain, context, source)
  stream.take(first)
  stream.connect()
}

/** A connection to a host on behalf of a client that has not said what it wants. */
export interface Probe {
  /** The host has been left, or has gone without a word. */
  readonly over: boolean
  /** The client's bytes are for this host. */
  take(first: Buffer): void
  /** They are not: the host is left, the client stays. */
  leave(): void
}

/**
 * Connects a silent client to one of a chain's clusters, in case it is the host that speaks first: `spoke` is called
 * then, lets go of the client and returns what has been read of it. A host that ends without a word is left.
 */
export function probeTcp(
  client: Socket,
  chain: TcpChain,
  context: ProxyContext,
  source: Source,
  spoke: () => Buffer,
): Probe {
  const stream = new TcpStream(client, chain, context, source, spoke)
  stream.connect()
  return stream
}

class TcpStream implements Probe {
  readonly #client: Socket
  readonly #chain: TcpChain
  readonly #context: ProxyContext
  readonly #source: Source
  readonly #spoke: (() => Buffer) | undefined
  readonly #started = performance.now()
  /** What has been read of the client; undefined while it is not known to be for a host of ours. */
  #first: Buffer | undefined
  readonly #total: number
  #host: Host | undefined
  #clusterName = ''
  #upstream: Socket | undefined
  /** What is carried, once it is there: the upstream socket or a tunnel in it. */
  #joined: Duplex | undefined
  #attempts = 0
  #flags = ''
  #over = false
  #timer: NodeJS.Timeout | undefined
  #life: NodeJS.Timeout | undefined
  #series: ReturnType<ProxyContext['stats']['tcp']> | undefined
  #counted = { sent: 0, received: 0 }

  constructor(client: Socket, chain: TcpChain, context: ProxyContext, source: Source, spoke?: () => Buffer) {
    this.#client = client
    this.#chain = chain
    this.#context = context
    this.#source = source
    this.#spoke = spoke
    this.#total = chain.clusters.reduce((n, c) => n + c.weight, 0)
    client.on('error', this.#onGone)
    client.on('close', this.#onGone)
  }

  readonly #onGone = () => this.#end('')

  get over(): boolean {
    return this.#over
  }

  take(first: Buffer): void {
    if (this.#first) return
    this.#first = first
    this.#client.pause()
    if (this.#joined) this.#carry(this.#joined, this.#host!)
  }

  leave(): void {
    if (this.#over) return
    this.#over = true
    this.#client.off('error', this.#onGone)
    this.#client.off('close', this.#onGone)
    this.#upstream?.destroy()
  }

  connect(): void {
    const { config, random } = this.#context
    this.#clusterName = pickCluster(this.#chain.clusters, this.#total, random())?.name ?? ''
    const cluster = config.usable(this.#clusterName)
    if (cluster) return this.#connectTo(cluster)
    config.awaitCluster(this.#clusterName, (told) => {
      if (this.#over) return
      if (told) this.#connectTo(told)
      else this.#end('NC')
    })
  }

  #connectTo(cluster: ClusterState): void {
    const { random, connector } = this.#context
    const { host, port, client } = this.#source
    const target =
      cluster.config.type === 'originalDst'
        ? cluster.passthrough(host, port)
        : cluster.pick(random, this.#chain.hashSource ? hashText(client) : undefined)
    if (!target) return this.#end('UH')
    if (cluster.connections >= cluster.config.breakers.connections) {
      cluster.count('upstream_cx_overflow')
      return this.#end('UO')
    }
    this.#host = target
    this.#attempts++
    const { proxyProtocol } = cluster.config
    let upstream: Socket
    try {
      upstream = connector.open(target, {
        allowHalfOpen: true,
        ...(proxyProtocol ? { line: writeProxyLine(proxyProtocol, endsOf(this.#source)) } : {}),
        ...(this.#isFramed(target) ? {} : { onread: this.#readInto() }),
      })
    } catch {
      return this.#end('UF')
    }
    this.#upstream = upstream
    cluster.connections++
    target.connections++
    target.active++
    target.stats.connections++
    cluster.count('upstream_cx_total')
    const { connectTimeout } = cluster.config
    const timer = connectTimeout > 0 ? setTimeout(() => upstream.destroy(), connectTimeout) : undefined
    upstream.on('error', () => {})
    upstream.once('close', () => {
      clearTimeout(timer)
      cluster.connections--
      target.connections--
      target.active--
      if (this.#joined) return this.#end('')
      target.stats.connectFailures++
      cluster.count('upstream_cx_connect_fail')
      cluster.report(target, 0)
      if (!this.#over && this.#attempts < this.#chain.maxConnectAttempts) return this.connect()
      this.#end('UF,URX')
    })
    upstream.once(usableEvent(upstream), () => {
      const join = (stream: Duplex) => {
        clearTimeout(timer)
        cluster.report(target, 200)
        this.#join(stream, target)
      }
      const { tunnel } = this.#chain
      if (tunnel) openTunnel(upstream, tunnel, join)
      else join(upstream)
    })
  }

  /** Whether what a host sends is not all the client's, as it comes. */
  #isFramed(host: Host): boolean {
    return this.#chain.tunnel !== undefined || transportFor(host) !== undefined
  }

  #join(upstream: Duplex, host: Host): void {
    if (this.#over) return void upstream.destroy()
    this.#joined = upstream
    if (this.#isFramed(host)) upstream.on('data', (data: Buffer) => this.#pass(data) || upstream.pause())
    upstream.on('end', () => (this.#first ? this.#client.end() : this.leave()))
    if (this.#first) this.#carry(upstream, host)
    else upstream.resume()
  }

  /** Passes a host's bytes to the client; false when it does not take more for now. */
  #pass(data: Uint8Array): boolean {
    if (!this.#first) this.take(this.#spoke!())
    return this.#client.write(data)
  }

  #carry(upstream: Duplex, host: Host): void {
    const client = this.#client
    const { service } = host.cluster.config
    const { inbound } = this.#source
    this.#series = this.#context.stats.tcp(
      inbound,
      inbound ? UNKNOWN_PEER : host.peer,
      service.host ? service : { host: 'unknown', name: 'unknown', namespace: 'unknown' },
      '',
      this.#source,
    )
    this.#series.opened++
    if (this.#first!.length > 0) upstream.write(this.#first!)
    relay(client, upstream)
    client.on('drain', () => upstream.resume())
    upstream.resume()
    const { idleTimeout, maxAge } = this.#chain
    if (idleTimeout > 0) this.#watchIdle(idleTimeout)
    if (maxAge > 0) this.#life = setTimeout(() => this.#end('DT'), maxAge)
  }

  /** Reads a host's bytes into a block that is used again as soon as the client has taken all of it. */
  #readInto(): OnReadOpts {
    let size = BLOCK_MIN
    let block: Buffer | undefined
    return {
      // Asked for before each read.
      buffer: () => {
        if (block?.length !== size) block = Buffer.allocUnsafeSlow(size)
        return block
      },
      callback: (length, data) => {
        if (length === size) size = Math.min(size * 2, BLOCK_MAX)
        else if (length < size / 8) size = Math.max(size / 2, BLOCK_MIN)
        const more = this.#pass(Buffer.from(data.buffer, data.byteOffset, length))
        // What the system has not taken yet must stay as it is: the next read has a block of its own.
        if (this.#client.writableLength > 0) block = undefined
        if (!more) this.#upstream?.pause()
        return more
      },
    }
  }

  #watchIdle(ms: number): void {
    let before = -1
    this.#timer = setInterval(() => {
      const moved = this.#client.bytesRead + (this.#upstream?.bytesRead ?? 0)
      this.#count()
      if (moved === before) this.#end('')
      before = moved
    }, ms)
    this.#timer.unref()
  }

  /** Brings the counters in step with what has passed. */
  #count(): void {
    const series = this.#series
    if (!series) return
    const sent = this.#upstream?.bytesRead ?? 0
    const received = this.#client.bytesRead
    series.sent += sent - this.#counted.sent
    series.received += received - this.#counted.received
    this.#counted = { sent, received }
  }

  #end(flags: string): void {
    if (this.#over) return
    // A client that has not said what it wants is not told how its host is.
    if (!this.#first && !this.#client.destroyed) return this.leave()
    this.#over = true
    this.#flags ||= flags
    clearInterval(this.#timer)
    clearTimeout(this.#life)
    this.#count()
    if (this.#series) this.#series.closed++
    this.#client.destroy()
    this.#upstream?.destroy()
    const { accessLogs } = this.#chain
    if (accessLogs.length > 0) {
      const info = this.#info()
      for (const log of accessLogs) log.write(info)
    }
  }

  #info(): StreamInfo {
    const upstream = this.#upstream
    return {
      ...connectionInfo(this.#source, this.#context.stats.hostname),
      startTime: performance.timeOrigin + this.#started,
      durationMs: performance.now() - this.#started,
      flags: this.#flags,
      bytesReceived: this.#counted.received,
      bytesSent: this.#counted.sent,
      upstreamHost: this.#host?.key ?? '',
      upstreamCluster: this.#clusterName,
      upstreamLocal: upstream?.localAddress ? `${upstream.localAddress}:${upstream.localPort}` : '',
      attempts: this.#attempts,
    }
  }
}

/** Bytes that are read at once from a host: few where few come, more where reads are full. */
const BLOCK_MIN = 8 * 1024
const BLOCK_MAX = 256 * 1024

/** Carries bytes one way; the end of one side's bytes is told to the other. */
function relay(from: Duplex, to: Duplex): void {
  from.on('data', (data: Buffer) => {
    if (!to.write(data)) from.pause()
  })
  to.on('drain', () => from.resume())
  // Its end may have come while its protocol was being found out.
  if (from.readableEnded) to.end()
  else from.on('end', () => to.end())
  from.resume()
}
