// A data plane of several workers with one listener, as the proxy's own program runs it. Arguments: port, the back end's
// port, workers. Clusters named "late-..." are there when they are asked for; of others there are none. Asked to "move", it
// answers every request itself from when it says so.

import cluster from 'node:cluster'
import { Cluster, Listener, TYPE } from '#api/xds'
import { createLog } from '#base'
import type { Message, MessageType } from '#wire'
import { Resources } from '../../src/proxy/config/resources.ts'
import { Addresses } from '../../src/proxy/net/addresses.ts'
import { createProxy } from '../../src/proxy/proxy.ts'
import { startWorkers } from '../../src/proxy/workers/agent.ts'
import { showTally } from '../../src/proxy/workers/tally.ts'
import { followAgent } from '../../src/proxy/workers/worker.ts'
import { httpListener, LOCAL, staticCluster, toCluster } from './proxy.ts'

const [port = 0, backend = 0, count = 1] = process.argv.slice(2).map(Number)
const log = createLog('test', { debug: false, sink: () => {} })
const { context } = createProxy({ local: LOCAL, nodeId: 'router~1.1.1.1~a.n~n' })
const resources = new Resources(context.config, () => {})
const addresses = new Addresses(context, 'router', log)

if (cluster.isWorker)
  followAgent({
    context,
    resources,
    onDemand: true,
    serve: () => addresses.open(),
    closeListeners: () => addresses.close(),
    quit: (why) => process.exit(why ? 1 : 0),
  })
else {
  context.config.onDemand = true
  const workers = startWorkers(count, context, resources, log)
  const apply = (type: string, of: MessageType, messages: readonly Message[], removed: readonly string[] = []) =>
    resources.apply(
      type,
      messages.map((m) => ({ name: m.name, version: '1', bytes: of.encode(m) })),
      removed,
      false,
    )
  context.config.demandedClusters.onAsk = (name) =>
    setTimeout(() => {
      if (name.startsWith('late-')) apply(TYPE.cluster, Cluster, [staticCluster(name, [backend])])
      else apply(TYPE.cluster, Cluster, [], [name])
    }, 20)
  apply(TYPE.cluster, Cluster, [staticCluster('c', [backend])])
  const listen = (routes: readonly Message[]) =>
    apply(TYPE.listener, Listener, [httpListener('l', { port, listener: { bind_to_port: { value: true } }, routes })])
  listen([
    toCluster('late-one', {}, { prefix: '/late' }),
    toCluster('nobody', {}, { prefix: '/nobody' }),
    toCluster('c'),
  ])
  process.on('message', async (message: 'pids' | 'stats' | 'move') => {
    if (message === 'pids') return process.send?.(workers.ready ? workers.pids : [])
    if (message === 'move') {
      listen([{ match: { prefix: '/' }, direct_response: { status: 204 } }])
      await resources.everywhere
      return process.send?.('moved')
    }
    showTally(await workers.tally(), context)
    process.send?.(context.stats.render())
  })
  process.on('disconnect', () => process.exit(0))
}
