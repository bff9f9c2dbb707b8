// Durable writes: our store beside a bare append with fdatasync, SQLite (WAL, synchronous=FULL) and etcd.

import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { openEmbeddedStore } from '#store'
import { etcdPuts } from './etcd-peer.ts'
import type { report as Report } from './report.ts'

const VALUE = new Uint8Array(1200).fill(120)
const MS = 2000

async function rate(write: (i: number) => Promise<unknown> | unknown, writers: number): Promise<number> {
  let count = 0
  const end = performance.now() + MS
  const begin = performance.now()
  await Promise.all(
    Array.from({ length: writers }, async () => {
      while (performance.now() < end) {
        await write(count++)
      }
    }),
  )
  return (count / (performance.now() - begin)) * 1000
}

export async function run(report: typeof Report): Promise<void> {
  const folder = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'sampan-bench-'))
  try {
    const store = await openEmbeddedStore(join(folder, 'store'))
    const ours = {
      one: await rate((i) => store.create(`/a/${i}`, VALUE), 1),
      many: await rate((i) => store.create(`/b/${i}`, VALUE), 64),
    }
    await store.close()
    const file = await open(join(folder, 'append'), 'w')
    const append = await rate(async () => {
      await file.write(VALUE)
      await file.datasync()
    }, 1)
    await file.close()
    const db = new DatabaseSync(join(folder, 'sqlite'))
    db.exec('pragma journal_mode=wal; pragma synchronous=full; create table kv (k text primary key, v blob)')
    const insert = db.prepare('insert into kv values (?, ?)')
    const sqlite = await rate((i) => insert.run(`/a/${i}`, VALUE), 1)
    db.close()
    report({
      metric: 'durable creates, 1 writer',
      unit: '/s',
      ours: ours.one,
      peer: append,
      peerName: 'append+fdatasync',
    })
    report({ metric: 'durable creates, 1 writer', unit: '/s', ours: ours.one, peer: sqlite, peerName: 'node:sqlite' })
    report({
      metric: 'durable creates, 64 writers',
      unit: '/s',
      ours: ours.many,
      peer: append,
      peerName: 'append+fdatasync',
    })
    for (const writers of [1, 64]) {
      const { rate: puts } = await etcdPuts(join(folder, `etcd-${writers}`), writers, VALUE.length, false)
      report({
        metric: `durable creates, ${writers} writer${writers > 1 ? 's' : ''}`,
        unit: '/s',
        ours: writers > 1 ? ours.many : ours.one,
        peer: puts,
        peerName: 'etcd',
      })
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
