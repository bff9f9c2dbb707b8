// The addresses a gateway listens on: those of its listeners, opened and closed as they come and go.

import type { Server } from 'node:net'
import { type Log, messageOf } from '#base'
import type { ProxyContext } from '../http/context.ts'
import { acceptBound } from './acceptor.ts'

export class BoundListeners {
  readonly #context: ProxyContext
  readonly #log: Log
  /** Open addresses by listener; a listener that has moved is opened anew. */
  readonly #servers = new Map<string, { server: Server; at: string }>()
  #updating: Promise<void> = Promise.resolve()

  constructor(context: ProxyContext, log: Log) {
    this.#context = context
    this.#log = log
  }

  /** Brings the open addresses in step with the configuration. Connections that are there stay. */
  update(): Promise<void> {
    this.#updating = this.#updating.then(() => this.#update())
    return this.#updating
  }

  async #update(): Promise<void> {
    const { listeners } = this.#context.config
    for (const [name, { server, at }] of this.#servers) {
      const now = listeners.get(name)
      if (now?.bind && `${now.address}:${now.port}` === at) continue
      server.close()
      this.#servers.delete(name)
    }
    for (const [name, listener] of listeners) {
      if (!listener.bind || this.#servers.has(name)) continue
      try {
        const server = await acceptBound(name, listener, this.#context)
        this.#servers.set(name, { server, at: `${listener.address}:${listener.port}` })
      } catch (error) {
        this.#log.error('cannot listen', { listener: name, error: messageOf(error) })
      }
    }
  }

  /** Takes no new connections. */
  close(): void {
    for (const { server } of this.#servers.values()) server.close()
    this.#servers.clear()
  }
}
