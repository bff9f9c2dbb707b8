// A client of several etcd endpoints: a call that one does not answer goes to the next.

import { SampanError } from '#base'
import { StoreErrors } from '#store'
import { GrpcClient, GrpcCode, GrpcError, type GrpcStream, type Message, type Method, type StreamEvents } from '#wire'

/** Where an etcd is and who is asking. Certificates are PEM texts. */
export interface EtcdTarget {
  /** "https://10.0.0.1:2379", one or more. */
  readonly endpoints: readonly string[]
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string }
}

/** How long one endpoint may take to answer, milliseconds. */
const CALL_MS = 5000

/** How long endpoints are tried in turn, and the pause after each round, milliseconds. */
const PATIENCE_MS = 10_000
const PAUSE_MS = 100

/** How often an endpoint is asked whether it is still there, milliseconds. */
const KEEP_ALIVE_MS = 5000

/** Codes that say nothing about the call itself: another endpoint may do better. */
const ELSEWHERE = new Set<number>([GrpcCode.unavailable, GrpcCode.deadline, GrpcCode.cancelled])

export class EtcdClient {
  readonly #clients: readonly GrpcClient[]
  readonly #names: readonly string[]
  /** The endpoint that answered last. */
  #at = 0
  #closed = false

  /** Fails with BadEndpoint for an endpoint that is not a URL. */
  constructor(target: EtcdTarget) {
    if (target.endpoints.length === 0)
      throw new SampanError(
        'BadEndpoint',
        'Cannot use etcd: no endpoint is given (--datastore-endpoints https://host:2379)',
      )
    this.#names = target.endpoints
    this.#clients = target.endpoints.map((endpoint) => {
      const url = URL.parse(endpoint)
      if (!url || !/^https?:$/.test(url.protocol) || !url.hostname)
        throw new SampanError(
          'BadEndpoint',
          `Cannot use etcd at "${endpoint}": it must be a URL such as https://10.0.0.1:2379`,
        )
      const host = url.hostname.replace(/^\[|\]$/g, '')
      const port = Number(url.port || 2379)
      const tls = url.protocol === 'https:' ? { tls: { ...target.tls } } : {}
      return new GrpcClient({ host, port, keepAliveMs: KEEP_ALIVE_MS, ...tls })
    })
  }

  get endpoint(): string {
    return this.#names[this.#at]!
  }

  /**
   * Calls a method that may be made twice. Fails with GrpcError as etcd answered, or with Unreachable when
   * no endpoint did.
   */
  async call(method: Method, request: Message): Promise<Message> {
    return (await this.attempt(method, request)).answer
  }

  /** The same, telling how often it was tried: what an earlier try did may have come through. */
  async attempt(
    method: Method,
    request: Message,
    patienceMs = PATIENCE_MS,
  ): Promise<{ answer: Message; tries: number }> {
    let last: GrpcError | undefined
    const patience = performance.now() + patienceMs
    for (let tries = 1; ; tries++) {
      const at = this.#at
      try {
        const answer = await this.#clients[at]!.call(method, request, { timeoutMs: CALL_MS })
        return { answer, tries }
      } catch (error) {
        if (!(error instanceof GrpcError) || !ELSEWHERE.has(error.grpcCode)) throw error
        last = error
        this.#leave(at)
      }
      if (this.#closed) throw new SampanError(StoreErrors.closed, 'Cannot use the store: it is closed')
      if (performance.now() > patience) break
      // All have been asked: a leader is being elected, or etcd is starting.
      if (tries % this.#clients.length === 0) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
    throw new SampanError(StoreErrors.unreachable, `Cannot reach etcd at ${this.#names.join(', ')}: ${last?.message}`, {
      cause: last,
    })
  }

  /** Opens a stream to the endpoint in use; the next one takes its place when it breaks. */
  stream(method: Method, events: StreamEvents): GrpcStream {
    const at = this.#at
    return this.#clients[at]!.stream(method, {
      onMessage: events.onMessage,
      onEnd: (error) => {
        if (error) this.#leave(at)
        events.onEnd(error)
      },
    })
  }

  close(): void {
    this.#closed = true
    for (const client of this.#clients) client.close()
  }

  #leave(at: number): void {
    if (this.#at === at) this.#at = (at + 1) % this.#clients.length
    // A connection that hangs is not used again.
    this.#clients[at]!.close()
  }
}
