// One HTTP/2 connection to a host, with many requests on it.

import type { Socket } from 'node:net'
import { H2Code, H2Session, type H2Stream, type H2StreamEvents, Output, readBytes } from '#wire'
import type { HttpRequest, Upstream, UpstreamEvents, UpstreamFailure } from '../http/request.ts'
import { failureText } from './failure-text.ts'
import type { Host } from './host.ts'

/** Whoever keeps connections. */
export interface H2Keeper {
  connected(connection: H2Connection): void
  ended(connection: H2Connection, kind: UpstreamFailure): void
}

export class H2Connection {
  readonly host: Host
  readonly socket: Socket
  readonly #keeper: H2Keeper
  readonly #session: H2Session
  readonly #output: Output
  readonly #born = performance.now()
  served = 0
  idleSince = performance.now()
  usable = false
  /** What has been asked for before the connection was there. */
  readonly streams = new Set<ClientStream>()
  #failure: UpstreamFailure | undefined
  #reason = 'connection closed'
  #over = false

  constructor(keeper: H2Keeper, host: Host, socket: Socket, usableEvent: string) {
    this.#keeper = keeper
    this.host = host
    this.socket = socket
    this.#output = new Output(socket)
    this.#session = new H2Session('client', this.#output, {
      onEnd: (error) => {
        if (error) this.#failure = 'protocol'
        if (error) this.#reason = error.message
        this.#output.end()
        this.#end()
      },
    })
    socket.once(usableEvent, () => {
      this.usable = true
      keeper.connected(this)
    })
    readBytes(socket, (data) => this.#session.push(data))
    socket.on('error', (error) => {
      this.#reason = failureText(error)
    })
    socket.on('close', () => this.#end())
  }

  get local(): string {
    const { localAddress, localPort } = this.socket
    return localAddress ? `${localAddress}:${localPort}` : ''
  }

  get age(): number {
    return performance.now() - this.#born
  }

  /** Whether another request may begin here. */
  get available(): boolean {
    return !this.#over && this.#session.available && !this.socket.destroyed
  }

  /** The connection is gone. */
  get over(): boolean {
    return this.#over
  }

  /** Requests under way. */
  get open(): number {
    return this.#session.open
  }

  /** The whole connection has ended, not one stream of it. */
  get lost(): boolean {
    return this.#session.over
  }

  timeOut(): void {
    this.#failure = 'timeout'
    this.#reason = 'connection timeout'
    this.socket.destroy()
  }

  /** Asks whether the other end is there; `done` when it says so. */
  ping(done: () => void): void {
    this.#session.ping(done)
  }

  /** The other end is not there any more: what is under way fails. */
  giveUp(): void {
    this.#reason = 'keepalive timeout'
    this.socket.destroy()
  }

  /** Takes no new requests; ends when the last has ended. */
  close(): void {
    this.#session.close()
  }

  request(request: HttpRequest, events: UpstreamEvents): Upstream {
    const fields = [
      ':method',
      request.method,
      ':scheme',
      request.scheme,
      ':path',
      request.path,
      ':authority',
      request.authority,
    ]
    for (const field of request.fields) fields.push(field)
    if (request.trailers) fields.push('te', 'trailers')
    const stream = new ClientStream(this, events, this.served++ > 0)
    this.streams.add(stream)
    stream.begin(this.#session, fields, !request.hasBody)
    return stream
  }

  /** For streams: what an error on one means. */
  failureOf(code: number, refused: boolean): UpstreamFailure {
    if (this.#failure) return this.#failure
    if (!this.usable) return 'connect'
    if (code === H2Code.protocol || code === H2Code.frameSize || code === H2Code.compression) return 'protocol'
    return refused ? 'refused' : this.lost ? 'reset' : 'remoteReset'
  }

  get reason(): string {
    return this.#reason
  }

  forget(stream: ClientStream): void {
    this.streams.delete(stream)
    this.idleSince = performance.now()
  }

  #end(): void {
    if (this.#over) return
    this.#over = true
    this.#session.end()
    this.socket.destroy()
    this.#keeper.ended(this, this.#failure ?? (this.usable ? 'reset' : 'connect'))
  }
}

/** A request on such a connection. */
class ClientStream implements Upstream, H2StreamEvents {
  readonly #connection: H2Connection
  readonly #events: UpstreamEvents
  readonly #reused: boolean
  #stream: H2Stream | undefined
  #headSeen = false
  #over = false

  constructor(connection: H2Connection, events: UpstreamEvents, reused: boolean) {
    this.#connection = connection
    this.#events = events
    this.#reused = reused
  }

  get local(): string {
    return this.#connection.local
  }

  begin(session: H2Session, fields: readonly string[], end: boolean): void {
    this.#stream = session.request(fields, end, this)
  }

  write(chunk: Uint8Array): boolean {
    return this.#stream!.data(chunk)
  }

  end(trailers: readonly string[] | undefined): void {
    this.#stream!.end(trailers)
  }

  cancel(): void {
    if (this.#over) return
    this.#finish()
    this.#stream?.reset(H2Code.cancel)
  }

  pause(): void {
    this.#stream!.pause()
  }

  resume(): void {
    this.#stream!.resume()
  }

  onHead(fields: string[], end: boolean): void {
    const status = Number(fields[1])
    if (status < 200) return
    this.#headSeen = true
    fields.splice(0, 2)
    if (end) this.#finish()
    this.#events.onHead(status, fields, end)
    if (end) this.#giveUpRest()
  }

  onData(data: Buffer): void {
    if (!this.#over) this.#events.onData(data)
  }

  onEnd(trailers: string[] | undefined): void {
    if (this.#over) return
    this.#finish()
    this.#events.onEnd(trailers)
    this.#giveUpRest()
  }

  /** The answer came before the end of the request: the rest of that goes nowhere. */
  #giveUpRest(): void {
    if (!this.#stream!.served) this.#stream!.reset(H2Code.cancel)
  }

  onReset(code: number, refused: boolean): void {
    if (this.#over) return
    this.#finish()
    // A server that has answered whole may reset what it does not read of the request (RFC 9113, 8.1).
    this.#events.onError(
      this.#connection.failureOf(code, refused && !this.#headSeen),
      this.#stream?.problem ||
        (this.#connection.usable && code !== H2Code.cancel
          ? `stream reset with code ${code}`
          : this.#connection.reason),
      this.#reused && this.#connection.lost,
    )
  }

  onDrain(): void {
    if (!this.#over) this.#events.onDrain()
  }

  #finish(): void {
    this.#over = true
    this.#connection.forget(this)
  }
}
