// How the API server grows: CPU of a GET and a PATCH, and memory, from 1,000 to 100,000 objects. With WRITE=1 the
// table and the chart of docs/performance.md are drawn anew.

import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { configMap } from './api-objects.ts'
import type { report as Report } from './report.ts'
import { atRest, cpuMicros, loadOf, residentMb, Workbench } from './subject.ts'

const SIZES = [1000, 3000, 10_000, 30_000, 100_000]
const REQUESTS = 10_000
const CLIENTS = 64
/** What the server adds to an object: identity, times, owners. */
const ADDED = 480

interface Row {
  objects: number
  ownMb: number
  get: number
  patch: number
  create: number
  busyMb: number
  restMb: number
}

export async function run(report: typeof Report): Promise<void> {
  using bench = await Workbench.open()
  const { folder } = bench
  const { child, port } = await bench.start('api-subject.ts')
  const loader = bench.fork('api-load.ts')
  const pid = child.pid!
  await atRest()
  const idle = residentMb(pid)
  const measure = async (kind: 'get' | 'patch' | 'create', total: number, objects: number, first: number) => {
    const before = cpuMicros(pid)
    const result = await loadOf(loader, { folder, port, clients: CLIENTS, total, kind, objects, first })
    if (result.failed > 0) throw new Error(`${result.failed} requests of ${kind} failed`)
    return (cpuMicros(pid) - before) / total
  }
  // Warm code, so that the first row is not that of a start.
  await measure('create', 1000, 1, 0)
  await measure('patch', 6000, 1000, 1)
  await measure('get', 10_000, 1000, 0)
  const rows: Row[] = []
  let there = 1000
  for (const objects of SIZES) {
    const create = objects > there ? await measure('create', objects - there, 1, there) : Number.NaN
    there = objects
    const get = await measure('get', REQUESTS, objects, 0)
    const patch = await measure('patch', REQUESTS, objects, objects)
    const busyMb = residentMb(pid)
    await atRest()
    // What comes back from the file after a rest is not what is measured.
    const restMb = residentMb(pid)
    await measure('patch', 3000, objects, objects + 1)
    const ownMb = (objects * (JSON.stringify(configMap(objects)).length + ADDED)) / 1e6
    rows.push({ objects, ownMb, get, patch, create, busyMb, restMb })
    report({ metric: `${objects} objects: GET, CPU each`, unit: 'µs', ours: get })
    report({ metric: `${objects} objects: merge PATCH, CPU each`, unit: 'µs', ours: patch })
    report({
      metric: `${objects} objects: resident memory at rest`,
      unit: 'MB',
      ours: restMb,
      peer: 3 * ownMb + idle,
      peerName: '3 × own size + idle',
    })
    report({ metric: `${objects} objects: resident memory under load`, unit: 'MB', ours: busyMb })
  }
  if (process.env.WRITE) draw(rows, idle)
}

const BEGIN = '<!-- drawn by bench/growth -->'
const END = '<!-- end of what bench/growth draws -->'

function draw(rows: readonly Row[], idle: number): void {
  const page = fileURLToPath(new URL('../docs/performance.md', import.meta.url))
  const text = readFileSync(page, 'utf8')
  const whole = (n: number) => (Number.isNaN(n) ? '' : n.toFixed(0))
  const chart = (title: string, unit: string, lines: readonly number[][], max: number) => `\`\`\`mermaid
xychart-beta
  title "${title}"
  x-axis "objects" [${rows.map((r) => r.objects).join(', ')}]
  y-axis "${unit}" 0 --> ${max}
${lines.map((l) => `  line [${l.map((n) => n.toFixed(0)).join(', ')}]`).join('\n')}
\`\`\``
  const drawn = `${BEGIN}
Machine: ${cpus().length} × ${cpus()[0]?.model.trim()}, ${(totalmem() / 1e9).toFixed(0)} GB, Node ${process.versions.node}; idle ${idle.toFixed(0)} MB.

| objects | their own size, MB | GET, µs CPU | merge PATCH, µs CPU | create, µs CPU | memory under load, MB | memory at rest, MB |
|---|---|---|---|---|---|---|
${rows.map((r) => `| ${r.objects} | ${r.ownMb.toFixed(1)} | ${whole(r.get)} | ${whole(r.patch)} | ${whole(r.create)} | ${whole(r.busyMb)} | ${whole(r.restMb)} |`).join('\n')}

${chart('CPU of a GET (lower line) and a merge PATCH', 'microseconds', [rows.map((r) => r.get), rows.map((r) => r.patch)], 200)}

${chart('Memory: under load, at rest, and the objects themselves', 'MB', [rows.map((r) => r.busyMb), rows.map((r) => r.restMb), rows.map((r) => r.ownMb)], Math.ceil(Math.max(...rows.map((r) => r.busyMb)) / 100) * 100)}
${END}`
  writeFileSync(page, text.replace(new RegExp(`${BEGIN}[\\s\\S]*${END}`), drawn))
}
