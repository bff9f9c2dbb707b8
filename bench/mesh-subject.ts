// The mesh's control plane in a process of its own: 1,000 services and their pods in 20 namespaces, changed on demand.

import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import type { KubeObject } from '#api'
import { giveBackMemoryAtRest, silentLog, systemClock } from '#base'
import { serveGrpc } from '#wire'
import { createSnapshot, type Snapshot } from '../src/mesh/model/snapshot.ts'
import { viewOf } from '../src/mesh/model/view.ts'
import { PushSchedule } from '../src/mesh/push-schedule.ts'
import { layersOf } from '../src/mesh/translate/translate.ts'
import { AdsServer } from '../src/mesh/xds/ads-server.ts'
import { Views } from '../src/mesh/xds/views.ts'

export const NAMESPACES = 20
export const SERVICES = 50
const PODS = 2

/** A message to the subject; it answers each with the same `id`. */
export interface MeshCommand {
  readonly id: number
  readonly do: 'rule' | 'endpoint' | 'storm' | 'cost' | 'connected'
}

export interface MeshAnswer {
  readonly id: number
  /** Milliseconds from the change to the last acknowledgement; of a storm each change's, sorted. */
  readonly ms?: readonly number[]
  readonly cpuMs?: number
  readonly rssMb?: number
  readonly connections?: number
}

let clock = 0
const object = (kind: string, namespace: string, name: string, rest: object): KubeObject => ({
  apiVersion: 'v1',
  kind,
  metadata: {
    name,
    namespace,
    uid: `${kind}/${namespace}/${name}`,
    resourceVersion: '1',
    generation: 1,
    creationTimestamp: new Date(1767225600000 + clock++).toISOString(),
  },
  ...rest,
})

const services: KubeObject[] = []
const pods = new Map<string, KubeObject>()
const slices = new Map<string, KubeObject[]>()
const rules = new Map<string, KubeObject>()
const destinationRules: KubeObject[] = []
const sidecars: KubeObject[] = []

function endpoints(namespace: string, name: string, ips: readonly string[]): KubeObject {
  return object('EndpointSlice', namespace, `${name}-1`, {
    ports: [{ name: 'http', port: 8080 }],
    endpoints: ips.map((ip) => ({ addresses: [ip], conditions: { ready: true } })),
  })
}

for (let n = 0; n < NAMESPACES; n++) {
  const namespace = `team-${n}`
  if (process.argv[3] === 'isolated')
    sidecars.push(object('Sidecar', namespace, 'default', { spec: { egress: [{ hosts: ['./*', 'istio-system/*'] }] } }))
  for (let s = 0; s < SERVICES; s++) {
    const name = `app-${s}`
    services.push(
      object('Service', namespace, name, {
        spec: {
          clusterIP: `10.96.${n}.${s + 1}`,
          selector: { app: name },
          ports: [{ name: 'http', port: 80, targetPort: 8080 }],
        },
      }),
    )
    const ips = Array.from({ length: PODS }, (_, p) => `10.${n + 1}.${s}.${p + 1}`)
    for (const [p, ip] of ips.entries()) {
      const pod = object('Pod', namespace, `${name}-${p}`, { spec: {}, status: { podIP: ip } })
      pods.set(ip, { ...pod, metadata: { ...pod.metadata, labels: { app: name, version: `v${p + 1}` } } })
    }
    slices.set(`${namespace}/${name}`, [endpoints(namespace, name, ips)])
    if (s % 5 === 0) {
      destinationRules.push(
        object('DestinationRule', namespace, name, {
          spec: {
            host: name,
            subsets: [
              { name: 'v1', labels: { version: 'v1' } },
              { name: 'v2', labels: { version: 'v2' } },
            ],
          },
        }),
      )
      rules.set(`${namespace}/${name}`, rule(namespace, name, 100))
    }
  }
}

function rule(namespace: string, name: string, weight: number): KubeObject {
  const to = (subset: string, share: number) => ({ destination: { host: name, subset }, weight: share })
  return object('VirtualService', namespace, name, {
    spec: { hosts: [name], http: [{ route: [to('v1', weight), to('v2', 100 - weight)] }] },
  })
}

let snapshot: Snapshot | undefined
let last: Snapshot | undefined
const current = () =>
  (snapshot ??= last =
    createSnapshot(
      viewOf({
        services,
        slices: (s) => slices.get(`${s.metadata.namespace}/${s.metadata.name}`) ?? [],
        podByIp: (ip) => pods.get(ip),
        endpointsVersion: (s) => slices.get(`${s.metadata.namespace}/${s.metadata.name}`)?.[0],
        virtualServices: [...rules.values()],
        destinationRules,
        sidecars,
      }),
      last,
    ))
const views = new Views(layersOf, (_key, error) => {
  throw error
})
const ads = new AdsServer({
  log: silentLog,
  layers: (proxy) => {
    return views.of(proxy, current, () => ({
      role: 'sidecar',
      namespace: proxy.namespace,
      labels: pods.get(proxy.ip)?.metadata.labels ?? {},
      ip: proxy.ip,
      locality: '',
      ports: [{ containerPort: 8080 }],
      trusted: false,
      readsSecrets: false,
      servesIngresses: false,
      config: {},
    }))
  },
  authenticate: async () => ({ name: '', groups: [] }),
  refuse: () => '',
  onAnswer: (_proxy, _url, message) => {
    if (message) process.stderr.write(`refused: ${message}\n`)
  },
})
const schedule = new PushSchedule(systemClock, async () => {
  snapshot = undefined
  views.invalidate()
  await ads.push()
})

let turn = 0
// As the server does.
giveBackMemoryAtRest(() => turn + ads.accepted)
function change(what: 'rule' | 'endpoint'): void {
  turn++
  const namespace = `team-${turn % NAMESPACES}`
  if (what === 'rule') {
    const name = `app-${((turn * 5) % SERVICES) - (((turn * 5) % SERVICES) % 5)}`
    rules.set(`${namespace}/${name}`, rule(namespace, name, turn % 100))
  } else {
    const name = `app-${turn % SERVICES}`
    const all = Array.from({ length: PODS }, (_, p) => `10.${(turn % NAMESPACES) + 1}.${turn % SERVICES}.${p + 1}`)
    slices.set(`${namespace}/${name}`, [endpoints(namespace, name, turn % 2 ? all.slice(1) : all)])
  }
  schedule.changed()
}

/** From a change to the moment when everybody has acknowledged it. */
async function timed(what: 'rule' | 'endpoint'): Promise<number> {
  const start = performance.now()
  change(what)
  await schedule.flush()
  await ads.caughtUp()
  return performance.now() - start
}

/** 100 changes a second for a minute; how long after each everybody has it. */
async function storm(): Promise<number[]> {
  const took: number[] = []
  let waiting: number[] = []
  const looks: Promise<void>[] = []
  /** Those of one push are waited for together, while the next goes out. */
  const look = async () => {
    while (waiting.length > 0) {
      const here = waiting
      waiting = []
      await schedule.sent()
      const record = () => {
        const now = performance.now()
        for (const at of here) took.push(now - at)
      }
      looks.push(ads.caughtUp().then(record))
    }
    looking = false
  }
  let looking = false
  const end = performance.now() + 60_000
  for (let next = performance.now(); next < end; next += 10) {
    const wait = next - performance.now()
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
    change(turn % 2 ? 'rule' : 'endpoint')
    waiting.push(performance.now())
    if (!looking) {
      looking = true
      void look()
    }
  }
  while (looking) await new Promise((resolve) => setTimeout(resolve, 10))
  await Promise.all(looks)
  return took.sort((a, b) => a - b)
}

process.on('message', async (command: MeshCommand) => {
  const answer = (more: Omit<MeshAnswer, 'id'>) => process.send!({ id: command.id, ...more })
  if (command.do === 'connected') {
    await ads.caughtUp()
    answer({ connections: ads.connections.size })
  } else if (command.do === 'cost') {
    const { user, system } = process.cpuUsage()
    answer({ cpuMs: (user + system) / 1000, rssMb: process.memoryUsage().rss / 1024 / 1024 })
  } else answer({ ms: command.do === 'storm' ? await storm() : [await timed(command.do)] })
})

const folder = process.argv[2]!
const read = (name: string) => readFileSync(join(folder, name), 'utf8')
const server = createServer({ cert: read('server.crt'), key: read('server.key'), ALPNCallback: () => 'h2' })
serveGrpc(server, ads.methods)
server.listen(0, '127.0.0.1', () => process.send!({ id: -1, connections: (server.address() as AddressInfo).port }))
