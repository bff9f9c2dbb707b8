// The mesh's control plane with 1,000 services and 2,000 connected sidecars: cost at rest, time from a change to the
// last acknowledgement, and behind a storm of changes.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeCertificates } from './certificates.ts'
import type { MeshAnswer, MeshCommand } from './mesh-subject.ts'
import { median, type report as Report } from './report.ts'

const SIDECARS = Number(process.env.BENCH_SIDECARS ?? 2000)

import { SERVER_FLAGS } from '../src/app/lifecycle.ts'

const FLAGS = ['--disable-warning=ExperimentalWarning']
const here = (name: string) => join(import.meta.dirname, name)

const percentile = (sorted: readonly number[], share: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0

export async function run(report: typeof Report): Promise<void> {
  await measure(report, 'isolated')
}

async function measure(report: typeof Report, scope: string): Promise<void> {
  const folder = mkdtempSync('/tmp/sampan-bench-')
  const children: ChildProcess[] = []
  try {
    await writeCertificates(folder)
    const subject = fork(here('mesh-subject.ts'), [folder, scope], {
      execArgv: SERVER_FLAGS,
      env: { ...process.env, MALLOC_ARENA_MAX: '2' },
    })
    children.push(subject)
    const [{ connections: port }] = (await once(subject, 'message')) as [MeshAnswer]
    let id = 0
    const ask = (what: MeshCommand['do']): Promise<MeshAnswer> => {
      const mine = ++id
      return new Promise((resolve) => {
        const look = (answer: MeshAnswer) => {
          if (answer.id !== mine) return
          subject.off('message', look)
          resolve(answer)
        }
        subject.on('message', look)
        subject.send({ id: mine, do: what } satisfies MeshCommand)
      })
    }
    const load = fork(here('mesh-load.ts'), [folder, String(port), String(SIDECARS)], { execArgv: FLAGS })
    children.push(load)
    await once(load, 'message')
    let connected = 0
    while (connected < SIDECARS) {
      const answer = await ask('connected')
      connected = answer.connections ?? 0
      if (connected < SIDECARS) await new Promise((resolve) => setTimeout(resolve, 200))
    }
    // At rest.
    await new Promise((resolve) => setTimeout(resolve, 15_000))
    const before = await ask('cost')
    await new Promise((resolve) => setTimeout(resolve, 10_000))
    const after = await ask('cost')
    const name = `1,000 services, ${SIDECARS} sidecars`
    report({
      metric: `${name}: CPU at rest`,
      unit: 'vCPU',
      ours: (after.cpuMs! - before.cpuMs!) / 10_000,
      budget: '0.1',
    })
    report({ metric: `${name}: resident memory`, unit: 'MB', ours: after.rssMb!, budget: '400' })
    for (const [what, text, budget] of [
      ['rule', 'a VirtualService, to the last acknowledgement', '1,000'],
      ['endpoint', 'an endpoint, likewise', '300'],
    ] as const) {
      const took: number[] = []
      for (let i = 0; i < 20; i++) took.push((await ask(what)).ms![0]!)
      report({ metric: `change of ${text}, median`, unit: 'ms', ours: median(took), budget })
      report({ metric: `change of ${text}, worst of 20`, unit: 'ms', ours: Math.max(...took), budget })
    }
    const start = await ask('cost')
    const { ms = [] } = await ask('storm')
    const end = await ask('cost')
    report({
      metric: '100 changes a second for a minute: behind, p99',
      unit: 'ms',
      ours: percentile(ms, 0.99),
      budget: '1,000',
    })
    report({
      metric: '100 changes a second for a minute: CPU',
      unit: 'vCPU',
      ours: (end.cpuMs! - start.cpuMs!) / 60_000,
    })
    report({ metric: 'resident memory after it', unit: 'MB', ours: end.rssMb! })
  } finally {
    for (const child of children) child.kill()
    rmSync(folder, { recursive: true, force: true })
  }
}
