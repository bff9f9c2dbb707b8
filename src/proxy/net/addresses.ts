// Where a proxy takes connections: at the two ports that everything of a pod is redirected to, or at those of its listeners.

import type { Log } from '#base'
import type { ProxyContext } from '../http/context.ts'
import { accept } from './acceptor.ts'
import { BoundListeners } from './bound-listeners.ts'
import { originalDestination } from './original-dst.ts'

const OUTBOUND = 15001
const INBOUND = 15006

export class Addresses {
  readonly #context: ProxyContext
  readonly #role: 'sidecar' | 'router'
  readonly #log: Log
  readonly #open: { close(): void }[] = []

  constructor(context: ProxyContext, role: 'sidecar' | 'router', log: Log) {
    this.#context = context
    this.#role = role
    this.#log = log
  }

  /** Opens them. Fails with Error when one is taken. */
  async open(): Promise<void> {
    const context = this.#context
    if (this.#role === 'router') {
      const bound = new BoundListeners(context, this.#log)
      context.config.onListeners = () => void bound.update()
      this.#open.push(bound)
      await bound.update()
      return
    }
    const find = await originalDestination()
    for (const [port, inbound] of [
      [OUTBOUND, false],
      [INBOUND, true],
    ] as const)
      this.#open.push(await accept({ context, port, inbound, originalDestination: find }))
  }

  /** Takes no new connections. */
  close(): void {
    for (const one of this.#open) one.close()
  }
}
