// The API server alone on the embedded store, for bench/api: prints one line of JSON once /readyz is green.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { join } from 'node:path'
import { errors } from '#api'
import { createLog, giveBackMemoryAtRest, systemClock } from '#base'
import { openEmbeddedStore } from '#store'
import { createControlPlane } from '../src/app/control-plane.ts'

const [folder = '', port = '0'] = process.argv.slice(2)
const read = (name: string) => readFileSync(join(folder, name), 'utf8')
const none = () => Promise.reject(errors.unavailable('this server has no node'))
const store = await openEmbeddedStore(join(folder, 'store'))
const plane = await createControlPlane(
  {
    store,
    clock: systemClock,
    log: (component) => createLog(component, { sink: (c, line) => process.stderr.write(`${c}: ${line}\n`) }),
    serviceCidr: '10.96.0.0/22',
    tokenKey: read('ca.key'),
    tls: { cert: read('server.crt'), key: read('server.key'), clientCa: read('ca.crt') },
    node: { logs: none, exec: none, attach: none, portForward: none },
  },
  new AbortController().signal,
)
const namespaces = { group: '', version: 'v1', plural: 'namespaces', kind: 'Namespace', namespaced: false }
await plane.client.create(namespaces, { metadata: { name: 'default' } }).catch(() => {})
mkdirSync(folder, { recursive: true })
giveBackMemoryAtRest(() => plane.api.begun)
const listening = await plane.api.listen('127.0.0.1', Number(port))
process.stdout.write(`${JSON.stringify({ port: listening })}\n`)
writeFileSync(join(folder, 'pid'), String(process.pid))
flushCompileCache()
if (process.env.CPU_PROFILE) {
  const { Session } = await import('node:inspector/promises')
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  process.on('SIGUSR2', async () => {
    await session.post('Profiler.start')
    setTimeout(async () => {
      const { profile } = await session.post('Profiler.stop')
      writeFileSync(process.env.CPU_PROFILE!, JSON.stringify(profile))
    }, 4000)
  })
}
