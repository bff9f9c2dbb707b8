// The addresses a gateway listens on: those of its listeners, opened and closed as they come and go.

import type { Server } from 'node:net'
import { type Log, messageOf } from '#base'
import { acceptBound } from './acceptor.ts'
import type { ExchangeContext } from './exchange.ts'

export class BoundListeners {
  readonly #context: ExchangeContext
  readonly #log: Log
  readonly #servers = new Map<string, Server>()

  constructor(context: ExchangeContext, log: Log) {
    this.#context = context
    this.#log = log
  }

  /** Brings the open addresses in step with the configuration. Connections that are there stay. */
  async update(): Promise<void> {
    const { listeners } = this.#context.config
    for (const [name, server] of this.#servers)
      if (!listeners.get(name)?.bind) {
        server.close()
        this.#servers.delete(name)
      }
    for (const [name, listener] of listeners) {
      if (!listener.bind || this.#servers.has(name)) continue
      try {
        this.#servers.set(name, await acceptBound(name, listener, this.#context))
      } catch (error) {
        this.#log.error('cannot listen', { listener: name, error: messageOf(error) })
      }
    }
  }
}
