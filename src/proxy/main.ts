// The proxy, as a sidecar or a gateway: reads its identity from the environment, its configuration from the control plane, and serves.

import { readFileSync } from 'node:fs'
import type { Server } from 'node:net'
import { createLog, giveBackMemoryAtRest } from '#base'
import { accept } from './acceptor.ts'
import { startAdmin } from './admin.ts'
import { BoundListeners } from './bound-listeners.ts'
import { ConfigStore } from './config-store.ts'
import type { ExchangeContext } from './exchange.ts'
import { originalDestination } from './original-dst.ts'
import { PeerMetadata } from './peer-metadata.ts'
import { type LocalWorkload, Stats } from './stats.ts'
import { H1Pool } from './upstream-h1.ts'
import { H2Pool } from './upstream-h2.ts'
import { XdsClient } from './xds-client.ts'

const OUTBOUND = 15001
const INBOUND = 15006
/** How long connections are given to end after SIGTERM (Istio's terminationDrainDuration). */
const DRAIN_MS = 5000

function readLabels(): Record<string, string> {
  try {
    const text = readFileSync('/etc/istio/pod/labels', 'utf8')
    return Object.fromEntries([...text.matchAll(/^([^=]+)=(".*")$/gm)].map((m) => [m[1]!, JSON.parse(m[2]!) as string]))
  } catch {
    return {}
  }
}

async function main(env: NodeJS.ProcessEnv): Promise<void> {
  const log = createLog('istio-proxy', { sink: (_c, line) => process.stdout.write(`${line}\n`) })
  const labels = readLabels()
  const namespace = env.POD_NAMESPACE ?? 'default'
  const workload = env.ISTIO_META_WORKLOAD_NAME ?? env.POD_NAME ?? 'unknown'
  const local: LocalWorkload = {
    workload,
    namespace,
    canonicalName: labels['service.istio.io/canonical-name'] ?? workload,
    canonicalRevision: labels['service.istio.io/canonical-revision'] ?? 'latest',
    app: labels.app ?? workload,
    version: labels.version ?? 'unknown',
  }
  const router = process.argv[2] === 'router'
  const nodeId = `${router ? 'router' : 'sidecar'}~${env.INSTANCE_IP}~${env.POD_NAME}.${namespace}~${namespace}.svc.cluster.local`
  const config = new ConfigStore()
  const stats = new Stats(local)
  const [h1, h2] = [new H1Pool(), new H2Pool()]
  const count = () => {
    stats.counters.upstreamConnections++
  }
  h1.onConnection = count
  h2.onConnection = count
  const context: ExchangeContext = {
    config,
    stats,
    h1,
    h2,
    peers: new PeerMetadata(local, nodeId),
    random: Math.random,
  }
  const [host = 'istiod.istio-system.svc', port = '15012'] = (env.CA_ADDR ?? '').split(':')
  const ports = JSON.parse(env.ISTIO_META_POD_PORTS || '[]') as object[]
  const xds = new XdsClient({
    host,
    port: Number(port),
    caFile: '/var/run/secrets/istio/root-cert.pem',
    tokenFile: '/var/run/secrets/tokens/istio-token',
    node: {
      id: nodeId,
      cluster: `${local.canonicalName}.${namespace}`,
      metadata: {
        NAME: env.POD_NAME,
        NAMESPACE: namespace,
        WORKLOAD_NAME: workload,
        LABELS: labels,
        POD_PORTS: ports,
        CLUSTER_ID: 'Kubernetes',
        MESH_ID: 'cluster.local',
        INSTANCE_IPS: env.INSTANCE_IP,
        GENERATOR: 'sampan',
      },
    },
    config,
    log,
  })
  const servers: Server[] = []
  let draining = false
  const drain = () => {
    if (draining) return
    draining = true
    log.info('draining')
    // New connections are still taken: whoever does not know yet that this pod goes must not fail.
    setTimeout(() => {
      for (const server of servers) server.close()
      process.exit(0)
    }, DRAIN_MS)
    const look = () => {
      if (stats.counters.downstreamActive === 0) process.exit(0)
      setTimeout(look, 100)
    }
    setTimeout(look, 500)
  }
  if (router) {
    const bound = new BoundListeners(context, log)
    config.onListeners = () => void bound.update()
  } else {
    const find = await originalDestination()
    servers.push(
      await accept({ context, port: OUTBOUND, inbound: false, originalDestination: find }),
      await accept({ context, port: INBOUND, inbound: true, originalDestination: find }),
    )
  }
  xds.start()
  await startAdmin({
    config,
    stats,
    raw: xds.raw,
    ready: () => config.ready && !draining,
    drain,
    quit: () => process.exit(0),
  })
  process.on('SIGTERM', drain)
  process.on('SIGINT', drain)
  process.on('uncaughtException', (error) => log.error('uncaught exception', { error: error.stack ?? error.message }))
  log.info('proxy started', { node: nodeId })
  giveBackMemoryAtRest(() => stats.counters.downstreamConnections + stats.counters.requests)
}

await main(process.env)
