// One worker of a proxy: serves what its agent tells it, and counts for it.

import type { Resources } from '../config/resources.ts'
import type { ProxyContext } from '../http/context.ts'
import type { FromWorker, ToWorker } from './message.ts'
import { tallyOf } from './tally.ts'

export interface WorkerOptions {
  readonly context: ProxyContext
  readonly resources: Resources
  readonly onDemand: boolean
  /** Opens the addresses; called once there is something to serve. */
  readonly serve: () => Promise<void>
  readonly closeListeners: () => void
  /** The agent is gone, or there is nothing to serve on: the agent begins another in its place. */
  readonly quit: (why?: unknown) => void
}

/** Follows the agent until it is gone. */
export function followAgent({ context, resources, onDemand, serve, closeListeners, quit }: WorkerOptions): void {
  const { config } = context
  const tell = (message: FromWorker) => process.connected && process.send?.(message)
  config.onDemand = onDemand
  config.demandedClusters.onAsk = (name) => tell({ kind: 'ask', what: 'clusters', name })
  config.demandedRoutes.onAsk = (name) => tell({ kind: 'ask', what: 'routes', name })
  config.demandedListeners.onAsk = (name) => tell({ kind: 'ask', what: 'listeners', name })
  let begun = false
  process.on('message', (message: ToWorker) => {
    switch (message.kind) {
      case 'apply':
        // What cannot be used the agent has refused in the name of all.
        resources.apply(message.type, message.told, message.removed, message.whole)
        if (message.id > 0) tell({ kind: 'applied', id: message.id })
        if (begun || !config.ready) break
        begun = true
        serve().then(() => tell({ kind: 'serving' }), quit)
        break
      case 'forget':
        ;(message.what === 'routes' ? config.demandedRoutes : config.demandedListeners).forget(message.name)
        break
      case 'asksForListeners':
        config.listenersOnDemand = true
        break
      case 'tally':
        tell({ kind: 'tally', id: message.id, tally: tallyOf(context) })
        break
      case 'drain':
        context.draining = true
        break
      case 'close':
        closeListeners()
    }
  })
  process.on('disconnect', () => quit())
}
