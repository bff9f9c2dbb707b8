// The API server alone: CPU and rate of GET, create, PATCH and LIST, beside a bare node:https server and etcd's own puts.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { get } from 'node:https'
import { join } from 'node:path'
import type { Load, LoadResult } from './api-load.ts'
import { configMap } from './api-objects.ts'
import { writeCertificates } from './certificates.ts'
import { etcdPuts } from './etcd-peer.ts'
import { median, type report as Report } from './report.ts'
import { atRest, cpuMicros, loadOf, programOf, residentMb, type Subject, started, Workbench } from './subject.ts'

const CLIENTS = 64
const OBJECTS = 5200
/** Rounds in which ours and the bare server are compared. */
const ROUNDS = 5

/** Milliseconds from a server's start until it says that it is ready; `begin` is when it was started. */
async function readyMillis({ port }: Subject, folder: string, begin: number): Promise<number> {
  const ca = readFileSync(join(folder, 'ca.crt'))
  const ready = () =>
    new Promise<boolean>((resolve) => {
      get({ host: '127.0.0.1', port, path: '/readyz', ca, agent: false }, (r) => {
        r.resume()
        resolve(r.statusCode === 200)
      }).on('error', () => resolve(false))
    })
  while (!(await ready())) await new Promise((resolve) => setTimeout(resolve, 5))
  return performance.now() - begin
}

async function syncMillis(folder: string): Promise<number> {
  const file = await open(join(folder, 'sync'), 'w')
  const times: number[] = []
  for (let i = 0; i < 200; i++) {
    const begin = performance.now()
    await file.write(Buffer.alloc(1400, 120))
    await file.datasync()
    times.push(performance.now() - begin)
  }
  await file.close()
  return median(times)
}

export async function run(report: typeof Report): Promise<void> {
  using bench = await Workbench.open()
  const { folder } = bench
  writeFileSync(join(folder, 'answer.json'), JSON.stringify(stored(1)))
  writeFileSync(join(folder, 'list.json'), JSON.stringify({ items: Array(OBJECTS).fill(stored(1)) }))
  await programOf('api-subject.ts')
  const starts: number[] = []
  for (let i = 0; i < 5; i++) {
    const other = join(folder, `start-${i}`)
    mkdirSync(other)
    await writeCertificates(other)
    const begin = performance.now()
    const subject = await started('api-subject.ts', other)
    starts.push(await readyMillis(subject, other, begin))
    subject.child.kill()
  }
  report({
    metric: 'process start to /readyz, API server alone',
    unit: 's',
    ours: median(starts) / 1000,
    budget: '0.4',
  })

  const subject = await bench.start('api-subject.ts')
  const bare = await bench.start('api-bare.ts')
  const loader = bench.fork('api-load.ts')
  const pid = subject.child.pid!
  const measure = async (target: Subject, load: Partial<Load>): Promise<Measured> => {
    const whole: Load = {
      folder,
      port: target.port,
      clients: CLIENTS,
      total: 20_000,
      kind: 'get',
      objects: OBJECTS,
      first: 0,
      ...load,
    }
    const before = cpuMicros(target.child.pid!)
    const result = await loadOf(loader, whole)
    if (result.failed > 0) throw new Error(`${result.failed} requests of ${whole.kind} failed`)
    return {
      ...result,
      cpu: (cpuMicros(target.child.pid!) - before) / whole.total,
      rate: whole.total / result.seconds,
    }
  }
  // The first objects, and warm code, on both sides.
  await measure(subject, { kind: 'create', total: OBJECTS })
  await measure(subject, { kind: 'patch', total: 4000 })
  await measure(subject, { kind: 'get', total: 10_000 })
  for (const kind of ['get', 'create', 'patch'] as const) await measure(bare, { kind, total: 8000 })

  /** Both in turn, round by round: a machine that is slow for a while is slow for both. */
  const compared = async (kind: 'get' | 'patch' | 'create', begin = 0) => {
    const [ours, theirs]: [Measured[], Measured[]] = [[], []]
    for (let i = 0; i < ROUNDS; i++) {
      theirs.push(await measure(bare, { kind, total: 5000 }))
      ours.push(await measure(subject, { kind, total: 5000, first: begin + i * 5000 }))
    }
    const of = (runs: Measured[], what: 'cpu' | 'rate') => median(runs.map((r) => r[what]))
    return {
      cpu: { ours: of(ours, 'cpu'), peer: of(theirs, 'cpu'), peerName: 'bare' },
      rate: { ours: of(ours, 'rate'), peer: of(theirs, 'rate'), peerName: 'bare' },
    }
  }
  const gets = await compared('get')
  report({ metric: 'GET, 64 clients, CPU each', unit: 'µs', ...gets.cpu, budget: '1.5 × bare' })
  report({ metric: 'GET, 64 clients', unit: '/s', ...gets.rate })

  const patches = await compared('patch', 1)
  report({ metric: 'merge PATCH, 64 clients, CPU each', unit: 'µs', ...patches.cpu, budget: '3 × bare' })
  report({ metric: 'merge PATCH, 64 clients', unit: '/s', ours: patches.rate.ours, budget: '4,000' })

  const [lists, bareLists]: [number[], number[]] = [[], []]
  for (let i = 0; i < 20; i++)
    for (const [target, times] of [
      [subject, lists],
      [bare, bareLists],
    ] as const)
      times.push((await measure(target, { kind: 'list', clients: 1, total: 5 })).p50)
  const list = { ours: median(lists.slice(5)), peer: median(bareLists.slice(5)), peerName: 'bare' }
  report({ metric: `LIST of ${OBJECTS}`, unit: 'ms', ...list, budget: '25' })
  const busy = residentMb(pid)
  await atRest()
  const rested = residentMb(pid)
  await measure(subject, { kind: 'patch', first: 9 })

  const creates = await compared('create', OBJECTS)
  let created = OBJECTS + ROUNDS * 5000
  /** Creates by clients that cost as little as etcd's, and its puts, in turn. */
  const [light, own, shared, plain]: [number[], number[], number[], number[]] = [[], [], [], []]
  for (let i = 0; i < 3; i++) {
    own.push((await etcdPuts(folder, CLIENTS, 1200, true, true)).rate)
    light.push((await measure(subject, { kind: 'create', light: true, first: created })).rate)
    created += 20_000
    shared.push((await etcdPuts(folder, CLIENTS, 1200, true)).rate)
    plain.push((await etcdPuts(folder, CLIENTS, 1200, false)).rate)
  }
  report({ metric: 'create, 64 clients, CPU each', unit: 'µs', ...creates.cpu, budget: '3 × bare' })
  report({ metric: 'create, 64 clients', unit: '/s', ...creates.rate, budget: '4,500' })
  const lightly = { metric: 'create, 64 light clients', unit: '/s', ours: median(light) }
  report({
    ...lightly,
    peer: median(own),
    peerName: "etcd's own puts over TLS, a connection each",
    budget: "etcd's",
  })
  report({ ...lightly, peer: median(shared), peerName: "etcd's own puts over TLS, all on one connection" })
  report({ ...lightly, peer: median(plain), peerName: "etcd's own puts in the clear" })
  const made = created + 1000
  const sync = await syncMillis(folder)
  const one = await measure(subject, { kind: 'create', clients: 1, total: 1000, first: 200_000 })
  report({
    metric: 'create, 1 client, p50',
    unit: 'ms',
    ours: one.p50,
    peer: sync,
    peerName: 'one sync',
    budget: 'one sync + 0.7 ms',
  })
  // Fair shares: a user who sends a request now and then, beside one who sends all he can.
  const quiet = bench.fork('api-load.ts')
  const visit = () =>
    loadOf(quiet, {
      folder,
      port: subject.port,
      clients: 1,
      total: 1500,
      kind: 'get',
      objects: OBJECTS,
      first: 0,
      user: 'other',
      pauseMs: 1,
    })
  await visit()
  const alone = await visit()
  // Whoever shares two cores with a flood waits for the processor too: the same flood on another server.
  const elsewhere = measure(bare, { kind: 'patch', total: 80_000 })
  const contended = await visit()
  await elsewhere
  const flood = measure(subject, { kind: 'patch', total: 40_000, first: 2 })
  const beside = await visit()
  await flood
  const p99 = { metric: 'GET of another user beside a flood of PATCHes, p99', unit: 'ms', ours: beside.p99 }
  report({ ...p99, peer: contended.p99, peerName: 'flood elsewhere', budget: '2 ×' })
  report({ ...p99, peer: alone.p99, peerName: 'no flood' })

  report({ metric: `resident memory in the midst of this load, ${OBJECTS} objects`, unit: 'MB', ours: busy })
  report({ metric: 'resident memory eight seconds after it', unit: 'MB', ours: rested, budget: '150' })
  await atRest()
  report({ metric: `resident memory eight seconds after all, ${made} objects`, unit: 'MB', ours: residentMb(pid) })
}

interface Measured extends LoadResult {
  cpu: number
  rate: number
}

/** An object as it is answered. */
const stored = (i: number) => {
  const object = configMap(i)
  return {
    ...object,
    metadata: {
      ...object.metadata,
      namespace: 'default',
      uid: '00000000-0000-0000-0000-000000000000',
      resourceVersion: '12345',
      creationTimestamp: '2026-01-01T00:00:00Z',
      managedFields: [
        {
          manager: 'node',
          operation: 'Update',
          apiVersion: 'v1',
          time: '2026-01-01T00:00:00Z',
          fieldsType: 'FieldsV1',
          fieldsV1: {
            'f:data': { '.': {}, 'f:number': {}, 'f:text': {} },
            'f:metadata': { 'f:labels': { '.': {}, 'f:app': {}, 'f:shard': {} } },
          },
        },
      ],
    },
  }
}
