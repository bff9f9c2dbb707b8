// The proxy, as a sidecar or a gateway: reads its identity from the environment, its configuration from the control plane, and serves.

import { createWriteStream, readFileSync, type WriteStream } from 'node:fs'
import type { Server } from 'node:net'
import { createLog, giveBackMemoryAtRest } from '#base'
import { adminHandler, listenHttp } from './admin/admin.ts'
import { type AgentOptions, type AppProbe, agentHandler, healthHandler, metricsHandler } from './admin/agent.ts'
import { envoyPrometheus, statRows } from './admin/stats-page.ts'
import { Resources } from './config/resources.ts'
import { XdsClient } from './config/xds-client.ts'
import { accept } from './net/acceptor.ts'
import { BoundListeners } from './net/bound-listeners.ts'
import { originalDestination } from './net/original-dst.ts'
import { createProxy } from './proxy.ts'
import type { LineSink } from './telemetry/access-log.ts'
import type { LocalWorkload } from './telemetry/peer.ts'

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

/** Lines to files, several of one turn in one write; lines that a slow reader leaves are lost, not kept. */
function lineSink(): LineSink {
  const streams = new Map<string, WriteStream | NodeJS.WriteStream>()
  const streamOf = (path: string) => {
    let stream = streams.get(path)
    if (!stream) {
      stream =
        path === '/dev/stdout'
          ? process.stdout
          : path === '/dev/stderr'
            ? process.stderr
            : createWriteStream(path, { flags: 'a' })
      stream.on('error', () => {})
      streams.set(path, stream)
    }
    return stream
  }
  const waiting = new Map<string, string>()
  return (path, line) => {
    const before = waiting.get(path)
    waiting.set(path, (before ?? '') + line)
    if (before !== undefined) return
    setImmediate(() => {
      const text = waiting.get(path) ?? ''
      waiting.delete(path)
      const stream = streamOf(path)
      if (stream.writableLength < 1024 * 1024) stream.write(text)
    })
  }
}

function json<T>(text: string | undefined, usual: T): T {
  try {
    return text ? (JSON.parse(text) as T) : usual
  } catch {
    return usual
  }
}

async function main(env: NodeJS.ProcessEnv): Promise<void> {
  const logging = { debug: false, sink: (_c: string, line: string) => process.stdout.write(`${line}\n`) }
  const log = createLog('istio-proxy', logging)
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
  const logLine = lineSink()
  const { context } = createProxy({ local, nodeId, hostname: env.POD_NAME ?? '', logLine })
  const { config, stats } = context
  const resources = new Resources(config, logLine)
  const [host = 'istiod.istio-system.svc', port = '15012'] = (env.CA_ADDR ?? '').split(':')
  const node = {
    id: nodeId,
    cluster: `${local.canonicalName}.${namespace}`,
    metadata: {
      NAME: env.POD_NAME,
      NAMESPACE: namespace,
      WORKLOAD_NAME: workload,
      LABELS: labels,
      POD_PORTS: json<object[]>(env.ISTIO_META_POD_PORTS, []),
      CLUSTER_ID: 'Kubernetes',
      MESH_ID: 'cluster.local',
      INSTANCE_IPS: env.INSTANCE_IP,
      GENERATOR: 'sampan',
      ON_DEMAND: 'true',
    },
  }
  const xds = new XdsClient({
    host,
    port: Number(port),
    caFile: '/var/run/secrets/istio/root-cert.pem',
    tokenFile: '/var/run/secrets/tokens/istio-token',
    serverName: 'istiod.istio-system.svc',
    delta: env.ISTIO_DELTA_XDS !== 'false',
    node,
    config,
    resources,
    log,
  })
  const servers: { close(): void }[] = []
  let leaving = false
  const drainListeners = () => {
    context.draining = true
    for (const server of servers) server.close()
  }
  const drain = () => {
    if (leaving) return
    leaving = true
    context.draining = true
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
    servers.push(bound)
  } else {
    const find = await originalDestination()
    const take = (at: number, inbound: boolean): Promise<Server> =>
      accept({ context, port: at, inbound, originalDestination: find })
    servers.push(await take(OUTBOUND, false), await take(INBOUND, true))
  }
  xds.start()
  const quit = () => process.exit(0)
  const ready = () => config.ready && !leaving
  const scrape = json<{ scrape?: string; port?: string; path?: string }>(env.ISTIO_PROMETHEUS_ANNOTATIONS, {})
  const agent: AgentOptions = {
    metrics: () => envoyPrometheus(statRows(config, stats, xds.connected)) + stats.render(),
    appMetrics:
      scrape.scrape === 'true' ? { port: Number(scrape.port || 80), path: scrape.path || '/metrics' } : undefined,
    probes: json<Record<string, AppProbe>>(env.ISTIO_KUBE_APP_PROBERS, {}),
    appHost: env.INSTANCE_IP ?? '127.0.0.1',
    ready,
    drain,
    quit,
  }
  const admin = adminHandler({
    context,
    resources,
    node,
    setDebug: (on) => {
      logging.debug = on
    },
    ready,
    connected: () => xds.connected,
    drain,
    drainListeners,
    quit,
  })
  await Promise.all([
    listenHttp('127.0.0.1', 15000, admin),
    listenHttp('0.0.0.0', 15020, agentHandler(agent)),
    listenHttp('0.0.0.0', 15021, healthHandler(agent)),
    listenHttp('0.0.0.0', 15090, metricsHandler(agent)),
  ])
  process.on('SIGTERM', drain)
  process.on('SIGINT', drain)
  process.on('uncaughtException', (error) => log.error('uncaught exception', { error: error.stack ?? error.message }))
  log.info('proxy started', { node: nodeId })
  giveBackMemoryAtRest(() => stats.counters.downstreamConnections + stats.counters.requests)
}

await main(process.env)
