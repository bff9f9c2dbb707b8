// The load of bench/api: keep-alive clients on node:https, or lighter ones, each one request after the other.

import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { configMap, MAPS } from './api-objects.ts'
import { LightClient } from './light-client.ts'

/** What a run asks for. */
export interface Load {
  folder: string
  port: number
  clients: number
  /** Requests in all. */
  total: number
  kind: 'get' | 'create' | 'patch' | 'list'
  /** Objects there are, for get and patch. */
  objects: number
  /** Number of the first object that is created. */
  first: number
  /** Who asks: "admin" unless said otherwise. */
  user?: string
  /** Clients that cost little: node:https costs more than what it asks for. */
  light?: boolean
  /** Pause after each request of a client. */
  pauseMs?: number
}

/** What it gives. Times are milliseconds. */
export interface LoadResult {
  seconds: number
  p50: number
  p99: number
  failed: number
}

/** The i-th request of a run. */
function shapeOf({ kind, objects, first }: Load, i: number) {
  const name = `${MAPS}/map-${(i * 7919) % Math.max(1, objects)}`
  if (kind === 'get') return { method: 'GET', path: name, body: '', type: '' }
  if (kind === 'list') return { method: 'GET', path: MAPS, body: '', type: '' }
  return kind === 'create'
    ? { method: 'POST', path: MAPS, body: JSON.stringify(configMap(first + i)), type: 'application/json' }
    : {
        method: 'PATCH',
        path: name,
        body: `{"data":{"number":"${i}-${first}"}}`,
        type: 'application/merge-patch+json',
      }
}

async function run(load: Load): Promise<LoadResult> {
  const { user = 'admin', pauseMs = 0 } = load
  const read = (name: string) => readFileSync(join(load.folder, name))
  const tls = { ca: read('ca.crt'), cert: read(`${user}.crt`), key: read(`${user}.key`) }
  const times: number[] = []
  let next = 0
  let failed = 0
  const lightly = async (client: LightClient, i: number) => {
    const { method, path, body, type } = shapeOf(load, i)
    const fields = body ? `content-type: ${type}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` : ''
    const begin = performance.now()
    if ((await client.ask(`${method} ${path} HTTP/1.1\r\nhost: localhost\r\n${fields}\r\n${body}`)) >= 300) failed++
    times.push(performance.now() - begin)
  }
  const one = (agent: Agent, i: number) =>
    new Promise<void>((resolve, reject) => {
      const { method, path, body, type } = shapeOf(load, i)
      const headers = body ? { 'content-type': type, 'content-length': Buffer.byteLength(body) } : {}
      const begin = performance.now()
      const call = request({ host: '127.0.0.1', port: load.port, method, path, agent, headers }, (response) => {
        if ((response.statusCode ?? 0) >= 300) failed++
        response.resume()
        response.on('end', () => {
          times.push(performance.now() - begin)
          resolve()
        })
      })
      call.on('error', reject)
      call.end(body)
    })
  const begin = performance.now()
  await Promise.all(
    Array.from({ length: load.clients }, async () => {
      if (load.light) {
        const client = new LightClient(load.port, tls)
        while (next < load.total) await lightly(client, next++)
        return client.close()
      }
      const agent = new Agent({ keepAlive: true, maxSockets: 1, ...tls })
      while (next < load.total) {
        await one(agent, next++)
        if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs))
      }
      agent.destroy()
    }),
  )
  const seconds = (performance.now() - begin) / 1000
  times.sort((a, b) => a - b)
  const at = (q: number) => times[Math.min(times.length - 1, Math.floor(times.length * q))]!
  return { seconds, p50: at(0.5), p99: at(0.99), failed }
}

if (process.send)
  process.on('message', (load: Load) => {
    run(load).then(
      (result) => process.send!(result),
      (error) => process.send!({ error: String(error) }),
    )
  })
