// The admin interface on port 15000 of the loopback address, in Envoy's shapes (operations/admin.rst).

import { createServer, type RequestListener, type Server } from 'node:http'
import type { Resources } from '../config/resources.ts'
import type { ProxyContext } from '../http/context.ts'
import { configDump, dumpOf, type NodeIdentity } from './config-dump.ts'
import { clustersJson, clustersText, envoyPrometheus, listenersJson, listenersText, statRows } from './stats-page.ts'

export interface AdminOptions {
  readonly context: ProxyContext
  readonly resources: Resources
  readonly node: NodeIdentity
  /** Switches debug lines on and off. */
  readonly setDebug: (on: boolean) => void
  readonly ready: () => boolean
  readonly connected: () => boolean
  /** Brings what is counted up to date, where others count. */
  readonly refresh: () => Promise<void>
  readonly drain: () => void
  /** Takes no connections any more; the process goes on. */
  readonly drainListeners: () => void
  readonly quit: () => void
}

/** Listens on an address. */
export function listenHttp(host: string, port: number, handler: RequestListener): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(handler)
    server.once('error', reject).listen(port, host, () => resolve(server))
  })
}

const LEVELS = ['trace', 'debug', 'info', 'warning', 'error', 'critical', 'off']

/** Answers what operators and tools ask. */
export function adminHandler(options: AdminOptions): RequestListener {
  const { context, resources, node, ready, connected } = options
  const { config, stats } = context
  let level = 'info'
  const answer: RequestListener = (request, response) => {
    const url = new URL(request.url ?? '/', 'http://admin')
    const { searchParams: query } = url
    const post = request.method === 'POST'
    request.resume()
    const text = (body: string, status = 200) =>
      response.writeHead(status, { 'Content-Type': 'text/plain; charset=UTF-8' }).end(body)
    const json = (value: unknown) =>
      response.writeHead(200, { 'Content-Type': 'application/json' }).end(`${JSON.stringify(value, undefined, 1)}\n`)
    const asJson = query.get('format') === 'json'
    const mutate = (action: () => void) => {
      if (!post) return text(`Method ${request.method} not allowed, POST required.`, 405)
      action()
      return text('OK\n')
    }
    switch (url.pathname) {
      case '/':
      case '/help':
        return text(`admin commands are:\n${COMMANDS.map((c) => `  ${c}\n`).join('')}`)
      case '/ready':
        return text(ready() ? 'LIVE\n' : 'PRE_INITIALIZING\n', ready() ? 200 : 503)
      case '/config_dump': {
        const dump = configDump(resources, node, {
          endpoints: query.has('include_eds') || /endpoint/.test(query.get('resource') ?? ''),
        })
        const wanted = query.get('resource')
        if (!wanted) return json(dump)
        const part = dumpOf(dump, wanted, query.get('name_regex') ?? undefined)
        return part ? json(part) : text(`${wanted} not found in config dump`, 404)
      }
      case '/clusters':
        return asJson ? json(clustersJson(config)) : text(clustersText(config))
      case '/listeners':
        return asJson ? json(listenersJson(config)) : text(listenersText(config))
      case '/stats': {
        const filter = query.get('filter')
        const wanted = filter ? new RegExp(filter) : undefined
        const rows = statRows(config, stats, connected()).filter(
          ([name, value]) => (!wanted || wanted.test(name)) && (!query.has('usedonly') || value !== 0),
        )
        if (asJson) return json({ stats: rows.map(([name, value]) => ({ name, value })) })
        if (query.get('format') === 'prometheus') return text(envoyPrometheus(rows) + stats.render())
        return text(rows.map(([name, value]) => `${name}: ${value}\n`).join(''))
      }
      case '/stats/prometheus':
        return text(envoyPrometheus(statRows(config, stats, connected())) + stats.render())
      case '/server_info':
        return json({
          version: 'sampan',
          state: ready() ? 'LIVE' : context.draining ? 'DRAINING' : 'PRE_INITIALIZING',
          uptime_current_epoch: `${Math.floor((Date.now() - stats.started) / 1000)}s`,
          uptime_all_epochs: `${Math.floor((Date.now() - stats.started) / 1000)}s`,
          node,
        })
      // What there is none of is said as Envoy says it.
      case '/runtime':
        return json({ entries: {}, layers: [] })
      case '/init_dump':
        return json({})
      case '/contention':
        return text('Mutex contention tracing is not enabled.\n')
      case '/memory': {
        const { rss, heapTotal, heapUsed, external } = process.memoryUsage()
        return json({
          allocated: String(heapUsed + external),
          heap_size: String(heapTotal),
          total_physical_bytes: String(rss),
        })
      }
      case '/logging': {
        if (!post) return text(`Method ${request.method} not allowed, POST required.`, 405)
        const asked = query.get('level')
        if (asked !== null && !LEVELS.includes(asked))
          return text(`error: invalid logger level "${asked}"; use one of ${LEVELS.join(', ')}\n`, 400)
        if (asked) level = asked
        options.setDebug(level === 'trace' || level === 'debug')
        return text(`active loggers:\n  proxy: ${level}\n`)
      }
      case '/certs':
        return json({ certificates: [...config.secrets].map(([name]) => ({ name })) })
      case '/drain_listeners':
        return mutate(options.drainListeners)
      case '/quitquitquit':
        return mutate(() => setImmediate(options.quit))
      case '/reset_counters':
        return mutate(() => {
          for (const cluster of config.clusters.values())
            for (const name of Object.keys(cluster.stats)) cluster.stats[name] = 0
        })
      default:
        return text(`invalid path. admin commands are:\n${COMMANDS.map((c) => `  ${c}\n`).join('')}`, 404)
    }
  }
  return (request, response) => {
    if (/^\/(clusters|stats)/.test(request.url ?? '')) void options.refresh().then(() => answer(request, response))
    else answer(request, response)
  }
}

const COMMANDS = [
  '/: Admin home page',
  '/certs: print certs on machine',
  '/clusters: upstream cluster status',
  '/config_dump: dump current configs',
  '/contention: dump current mutex contention stats (there are none)',
  '/drain_listeners (POST): drain listeners',
  '/help: print out list of admin commands',
  '/init_dump: dump what is waited for before the first configuration',
  '/listeners: print listener info',
  '/logging (POST): query/change logging levels',
  '/memory: print current allocation/heap usage',
  '/quitquitquit (POST): exit the server',
  '/ready: print server state, return 200 if LIVE, otherwise return 503',
  '/reset_counters (POST): reset all counters to zero',
  '/runtime: print runtime values',
  '/server_info: print server version/status information',
  '/stats: print server stats',
  '/stats/prometheus: print server stats in prometheus format',
]
