// The agent's side of its workers: what comes from the control plane is passed on to all of them, what they ask for is asked for once.

import { TYPE } from '#api/xds'
import type { Log } from '#base'
import type { Resources } from '../config/resources.ts'
import type { ProxyContext } from '../http/context.ts'
import { WorkerPool } from './worker-pool.ts'

/** Begins workers that put in force what this process is told; it serves nothing itself. */
export function startWorkers(count: number, { config }: ProxyContext, resources: Resources, log: Log): WorkerPool {
  const workers = new WorkerPool({
    count,
    log,
    everything: () => [
      ...(config.listenersOnDemand ? [{ kind: 'asksForListeners' } as const] : []),
      ...[TYPE.cluster, TYPE.endpoint, TYPE.secret, TYPE.listener, TYPE.route].flatMap((type) => {
        const told = [...resources.of(type)].map(([name, { version, bytes }]) => ({ name, version, bytes }))
        const delivered = told.length > 0 || config.delivered.has(DELIVERED[type] ?? '')
        return delivered ? [{ kind: 'apply', id: 0, type, told, removed: [], whole: true } as const] : []
      }),
    ],
    onAsk: (what, name, answer) => {
      const [type, demand] = {
        clusters: [TYPE.cluster, config.demandedClusters] as const,
        routes: [TYPE.route, config.demandedRoutes] as const,
        listeners: [TYPE.listener, config.demandedListeners] as const,
      }[what]
      // What comes, or turns out not to be there, is told to all; what is here is on its way to the worker.
      if (what === 'listeners' && config.listeners.has(name)) return
      const tell = () => {
        if (demand.isAbsent(name)) answer({ kind: 'apply', id: 0, type, told: [], removed: [name], whole: false })
      }
      if (demand.isAbsent(name)) tell()
      else demand.ask(name, tell)
    },
  })
  resources.onApply = (type, told, removed, whole) => workers.apply({ type, told, removed, whole })
  resources.onForget = (what, name) => workers.send({ kind: 'forget', what, name })
  workers.start()
  return workers
}

const DELIVERED: Readonly<Record<string, string>> = {
  [TYPE.cluster]: 'clusters',
  [TYPE.endpoint]: 'endpoints',
  [TYPE.listener]: 'listeners',
  [TYPE.route]: 'routes',
}
