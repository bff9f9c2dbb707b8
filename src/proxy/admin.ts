// What the proxy shows of itself: admin on 15000, health on 15021, metrics on 15090 and 15020.

import { createServer, type RequestListener } from 'node:http'
import type { ConfigStore } from './config-store.ts'
import type { Stats } from './stats.ts'

export interface AdminOptions {
  config: ConfigStore
  stats: Stats
  /** Raw resources by type URL. */
  raw: ReadonlyMap<string, readonly object[]>
  ready: () => boolean
  drain: () => void
  quit: () => void
}

function listen(host: string, port: number, handler: RequestListener): Promise<void> {
  return new Promise((resolve, reject) => createServer(handler).once('error', reject).listen(port, host, resolve))
}

/** Starts all of them. */
export async function startAdmin(options: AdminOptions): Promise<void> {
  const { config, stats, raw, ready, drain, quit } = options
  const health: RequestListener = (request, response) => {
    if (request.url === '/healthz/ready') response.writeHead(ready() ? 200 : 503).end()
    else response.writeHead(404).end()
  }
  const metrics: RequestListener = (request, response) => {
    if (request.url?.startsWith('/stats/prometheus'))
      response.writeHead(200, { 'Content-Type': 'text/plain; version=0.0.4' }).end(stats.render())
    else response.writeHead(404).end()
  }
  const agent: RequestListener = (request, response) => {
    if (request.url === '/metrics' || request.url === '/stats/prometheus')
      response.writeHead(200, { 'Content-Type': 'text/plain; version=0.0.4' }).end(stats.render())
    else if (request.url === '/quitquitquit' && request.method === 'POST') {
      response.end('ok')
      quit()
    } else health(request, response)
  }
  const admin: RequestListener = (request, response) => {
    const [path = '/'] = (request.url ?? '/').split('?')
    const json = (value: unknown) =>
      response
        .writeHead(200, { 'Content-Type': 'application/json' })
        .end(JSON.stringify(value, (_k, v) => (v instanceof Uint8Array ? Buffer.from(v).toString('base64') : v), 1))
    const post = request.method === 'POST'
    if (path === '/ready') response.writeHead(ready() ? 200 : 503).end(ready() ? 'LIVE\n' : 'PRE_INITIALIZING\n')
    else if (path === '/stats/prometheus') metrics(request, response)
    else if (path === '/stats')
      response.end(
        Object.entries(stats.counters)
          .map(([k, v]) => `${k}: ${v}\n`)
          .join(''),
      )
    else if (path === '/listeners')
      response.end([...config.listeners.values()].map((l) => `${l.name}::${l.address}:${l.port}\n`).join(''))
    else if (path === '/clusters')
      response.end(
        [...config.endpoints]
          .flatMap(([name, list]) => list.map((e) => `${name}::${e.host}:${e.port}::rq_active::${e.active}\n`))
          .join(''),
      )
    else if (path === '/config_dump')
      json({ configs: [...raw].map(([type, resources]) => ({ '@type': type, resources })) })
    else if (path === '/memory') json(process.memoryUsage())
    else if (path === '/drain_listeners' && post) {
      response.end('OK\n')
      drain()
    } else if (path === '/quitquitquit' && post) {
      response.end('OK\n')
      quit()
    } else response.writeHead(404).end()
  }
  await Promise.all([
    listen('127.0.0.1', 15000, admin),
    listen('0.0.0.0', 15020, agent),
    listen('0.0.0.0', 15021, health),
    listen('0.0.0.0', 15090, metrics),
  ])
}
