// What a change costs when a hundred watch: CPU of the server for each event delivered.

import type { ChildProcess } from 'node:child_process'
import type { report as Report } from './report.ts'
import { cpuMicros, loadOf, residentMb, Workbench } from './subject.ts'

const WATCHERS = 100
const WRITES = 5000

const ask = <T>(child: ChildProcess, message: object | string) =>
  new Promise<T>((resolve) => {
    child.once('message', (m) => resolve(m as T))
    child.send(message)
  })

export async function run(report: typeof Report): Promise<void> {
  using bench = await Workbench.open()
  const { folder } = bench
  const { child, port } = await bench.start('api-subject.ts')
  const pid = child.pid!
  const loader = bench.fork('api-load.ts')
  const watchers = bench.fork('watch-load.ts')
  const write = (kind: 'create' | 'patch', clients: number, total: number, first: number) =>
    loadOf(loader, { folder, port, clients, total, kind, objects: 1000, first })
  await write('create', 16, 1000, 0)
  await write('patch', 16, 4000, 0)
  // What the writes alone cost.
  await write('patch', 64, 5000, 20)
  const alone = cpuMicros(pid)
  await write('patch', 64, WRITES, 30)
  const writes = (cpuMicros(pid) - alone) / WRITES
  const opened = await ask<string | { error: string }>(watchers, { folder, port, watchers: WATCHERS })
  if (opened !== 'open') throw new Error(JSON.stringify(opened))
  const settled = async (least: number) => {
    for (let last = -1; ; ) {
      const now = await ask<number>(watchers, 'count')
      if (now === last && now >= least) return now
      last = now
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
  await write('patch', 16, 1000, 1)
  for (const clients of [1, 16, 64]) {
    const seen = await settled(0)
    const before = cpuMicros(pid)
    const result = await write('patch', clients, WRITES, 100 + clients)
    const delivered = (await settled(seen + WATCHERS * WRITES)) - seen
    if (delivered !== WATCHERS * WRITES) throw new Error(`${delivered} events instead of ${WATCHERS * WRITES}`)
    const cpu = cpuMicros(pid) - before
    report({
      metric: `${WATCHERS} watchers, ${clients} writing: CPU for each event delivered`,
      unit: 'µs',
      ours: (cpu - writes * WRITES) / delivered,
      budget: '4',
    })
    report({ metric: 'with the writes', unit: 'µs', ours: cpu / delivered })
    report({
      metric: `${WATCHERS} watchers, ${clients} writing: events delivered`,
      unit: '/s',
      ours: delivered / result.seconds,
    })
  }
  report({ metric: 'resident memory after this', unit: 'MB', ours: residentMb(pid) })
}
