// A copy of a request for another cluster; nobody reads its answer.

import type { ClusterState } from '../upstream/cluster-state.ts'
import type { Host } from '../upstream/host.ts'
import { poolFor } from './context.ts'
import type { Exchange } from './exchange.ts'
import type { Upstream, UpstreamEvents } from './request.ts'

/** Bytes that may wait for a slow server before the copy is given up. */
const BACKLOG = 1024 * 1024
/** How long an answer that nobody reads is waited for, where the route does not say, milliseconds. */
const TIMEOUT_MS = 300_000

export class Shadow implements UpstreamEvents {
  #upstream: Upstream | undefined
  #host: Host | undefined
  #waiting = 0
  #timer: NodeJS.Timeout | undefined
  readonly #timeout: number

  /** `timeout`: of the route, 0 for none. */
  constructor(
    { context, request, source }: Exchange,
    cluster: ClusterState,
    { suffix, timeout }: { suffix: boolean; timeout: number },
  ) {
    this.#timeout = timeout || TIMEOUT_MS
    const host =
      cluster.config.type === 'originalDst'
        ? cluster.passthrough(source.host, source.port)
        : cluster.pick(context.random)
    if (!host || cluster.requests >= cluster.config.breakers.requests) return
    const authority = suffix ? request.authority.replace(/(:\d+)?$/, '-shadow$1') : request.authority
    const copy = { ...request, authority, fields: [...request.fields], upgrade: '' }
    host.active++
    cluster.began()
    this.#host = host
    this.#upstream = poolFor(context, cluster.config, copy).request(host, copy, this, false)
    if (!copy.hasBody) this.#wait()
  }

  data(chunk: Buffer): void {
    if (!this.#upstream) return
    if (this.#upstream.write(chunk)) return
    this.#waiting += chunk.length
    if (this.#waiting > BACKLOG) this.cancel()
  }

  end(trailers: readonly string[] | undefined): void {
    this.#upstream?.end(trailers)
    this.#wait()
  }

  #wait(): void {
    if (this.#host) this.#timer = setTimeout(() => this.cancel(), this.#timeout).unref()
  }

  cancel(): void {
    this.#upstream?.cancel()
    this.#finish()
  }

  onHead(_status: number, _fields: string[], end: boolean): void {
    if (end) this.#finish()
  }

  onData(): void {}

  onEnd(): void {
    this.#finish()
  }

  onDrain(): void {
    this.#waiting = 0
  }

  onError(): void {
    this.#finish()
  }

  #finish(): void {
    clearTimeout(this.#timer)
    if (this.#host) {
      this.#host.active--
      this.#host.cluster.requests--
    }
    this.#host = undefined
    this.#upstream = undefined
  }
}
