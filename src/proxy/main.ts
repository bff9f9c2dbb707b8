// The proxy, as a sidecar or a gateway: reads its identity from the environment, its configuration from the control plane, and serves.

import cluster from 'node:cluster'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { createLog, parseDuration } from '#base'
import { adminHandler, listenHttp } from './admin/admin.ts'
import { type AgentOptions, type AppProbe, agentHandler, healthHandler, metricsHandler } from './admin/agent.ts'
import { envoyPrometheus, statRows } from './admin/stats-page.ts'
import { Resources } from './config/resources.ts'
import { XdsClient } from './config/xds-client.ts'
import { shrinkAtRest } from './idle.ts'
import { Addresses } from './net/addresses.ts'
import { createProxy } from './proxy.ts'
import { lineSink } from './telemetry/line-sink.ts'
import type { LocalWorkload } from './telemetry/peer.ts'
import { startWorkers } from './workers/agent.ts'
import { showTally } from './workers/tally.ts'
import { followAgent } from './workers/worker.ts'

/** How long connections are given to end after SIGTERM, unless TERMINATION_DRAIN_DURATION says otherwise (Istio's). */
const DRAIN_MS = 5000
const MOST_WORKERS = 64

function readLabels(): Record<string, string> {
  try {
    const text = readFileSync('/etc/istio/pod/labels', 'utf8')
    return Object.fromEntries([...text.matchAll(/^([^=]+)=(".*")$/gm)].map((m) => [m[1]!, JSON.parse(m[2]!) as string]))
  } catch {
    return {}
  }
}

function json<T>(text: string | undefined, usual: T): T {
  try {
    return text ? (JSON.parse(text) as T) : usual
  } catch {
    return usual
  }
}

/** Role and number of workers, as Istio's proxy is told them; 0 workers are one for each core. */
function readArguments(argv: readonly string[]): { role: 'sidecar' | 'router'; count: number } {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: { concurrency: { type: 'string' }, domain: { type: 'string' } },
    allowPositionals: true,
    strict: false,
  })
  const count = Number(values.concurrency ?? 1)
  return {
    role: positionals[0] === 'router' ? 'router' : 'sidecar',
    count: count === 0 ? availableParallelism() : Math.min(Math.max(Math.floor(count) || 1, 1), MOST_WORKERS),
  }
}

async function main(env: NodeJS.ProcessEnv, argv: readonly string[]): Promise<void> {
  const { role, count } = readArguments(argv)
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
  const nodeId = `${role}~${env.INSTANCE_IP}~${env.POD_NAME}.${namespace}~${namespace}.svc.cluster.local`
  const logLine = lineSink()
  const { context } = createProxy({ local, nodeId, hostname: env.POD_NAME ?? '', logLine })
  const { config, stats } = context
  const resources = new Resources(config, logLine)
  const addresses = new Addresses(context, role, log)
  const delta = env.ISTIO_DELTA_XDS !== 'false'
  shrinkAtRest(context)
  process.on('uncaughtException', (error) => log.error('uncaught exception', { error: error.stack ?? error.message }))
  if (cluster.isWorker) {
    followAgent({
      context,
      resources,
      onDemand: delta,
      serve: () => addresses.open(),
      closeListeners: () => addresses.close(),
      quit: (why) => {
        if (why) log.error('a worker cannot serve', { error: String(why) })
        process.exit(why ? 1 : 0)
      },
    })
    return
  }
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
      ON_DEMAND_LISTENERS: 'true',
    },
  }
  const xds = new XdsClient({
    host,
    port: Number(port),
    caFile: '/var/run/secrets/istio/root-cert.pem',
    tokenFile: '/var/run/secrets/tokens/istio-token',
    serverName: 'istiod.istio-system.svc',
    delta,
    node,
    config,
    resources,
    log,
  })
  const workers = count > 1 ? startWorkers(count, context, resources, log) : undefined
  /** Shows as this process's own what the workers have counted. */
  const refresh = async () => {
    if (workers) showTally(await workers.tally(), context)
  }
  let leaving = false
  const drainListeners = () => {
    context.draining = true
    workers?.send({ kind: 'drain' })
    workers?.send({ kind: 'close' })
    addresses.close()
  }
  const drain = () => {
    if (leaving) return
    leaving = true
    context.draining = true
    workers?.send({ kind: 'drain' })
    log.info('draining')
    // New connections are still taken: whoever does not know yet that this pod goes must not fail.
    setTimeout(() => process.exit(0), parseDuration(env.TERMINATION_DRAIN_DURATION) ?? DRAIN_MS)
    const look = async () => {
      await refresh()
      if (stats.counters.downstreamActive === 0) process.exit(0)
      setTimeout(look, 100)
    }
    setTimeout(look, 500)
  }
  if (!workers) await addresses.open()
  xds.start()
  const quit = () => process.exit(0)
  const ready = () => config.ready && (workers?.ready ?? true) && !leaving
  const scrape = json<{ scrape?: string; port?: string; path?: string }>(env.ISTIO_PROMETHEUS_ANNOTATIONS, {})
  const agent: AgentOptions = {
    metrics: async () => {
      await refresh()
      return envoyPrometheus(statRows(config, stats, xds.connected)) + stats.render()
    },
    underWay: async () => {
      await refresh()
      return stats.counters.inboundRequestsActive
    },
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
    refresh,
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
  log.info('proxy started', { node: nodeId, workers: count })
}

await main(process.env, process.argv.slice(2))
