// The load of bench/api: keep-alive clients on node:https, each one request after the other.

import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { configMap, MAPS } from './api-objects.ts'

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

async function run(load: Load): Promise<LoadResult> {
  const { user = 'admin', pauseMs = 0 } = load
  const read = (name: string) => readFileSync(join(load.folder, name))
  const tls = { ca: read('ca.crt'), cert: read(`${user}.crt`), key: read(`${user}.key`) }
  const times: number[] = []
  let next = 0
  let failed = 0
  const one = (agent: Agent, i: number) =>
    new Promise<void>((resolve, reject) => {
      const name = `${MAPS}/map-${(i * 7919) % Math.max(1, load.objects)}`
      const shapes = {
        get: { method: 'GET', path: name, body: '', type: '' },
        list: { method: 'GET', path: MAPS, body: '', type: '' },
        create: {
          method: 'POST',
          path: MAPS,
          body: JSON.stringify(configMap(load.first + i)),
          type: 'application/json',
        },
        patch: {
          method: 'PATCH',
          path: name,
          body: `{"data":{"number":"${i}-${load.first}"}}`,
          type: 'application/merge-patch+json',
        },
      }
      const { method, path, body, type } = shapes[load.kind]
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
