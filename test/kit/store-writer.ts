// A process that writes to an embedded store and tells what was acknowledged: to be killed, starved and delayed.

import { writeSync } from 'node:fs'
import { isStoreError, type KeyValue, openEmbeddedStore } from '#store'

/** Lines are JSON; they are written at once, so that a kill loses none. */
const tell = (line: object) => writeSync(1, `${JSON.stringify(line)}\n`)
const [folder = '', mode = 'write', seedText = '1'] = process.argv.slice(2)
const bytes = (text: string) => Buffer.from(text)
const text = (kv: KeyValue) => Buffer.from(kv.value).toString()

let seed = Number(seedText)
const random = (n: number) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % n

const started = performance.now()
const store = await openEmbeddedStore(folder, { rewriteAt: 60_000, repairMs: 200, warn: (w) => tell({ warn: w }) })
const { items } = await store.list('/')
tell({ open: store.revision, state: items.map((kv) => [kv.key, text(kv), kv.modRevision]) })

/** Writers that never pause, each on keys of its own. */
async function writeForEver(): Promise<void> {
  await Promise.all(
    Array.from({ length: 8 }, async (_, w) => {
      const mine = new Map(
        items.filter((kv) => kv.key.startsWith(`/w${w}/`)).map((kv) => [kv.key, kv.modRevision] as const),
      )
      for (let i = 0; ; i++) {
        const key = `/w${w}/${random(6)}`
        const at = mine.get(key)
        const value = `${process.pid}.${i} ${'x'.repeat(random(2000))}`
        tell({ try: key, value, was: at ?? 0 })
        try {
          if (at !== undefined && random(4) === 0) {
            const { revision } = await store.delete(key, at)
            mine.delete(key)
            tell({ ack: key, revision })
          } else {
            const kv =
              at === undefined ? await store.create(key, bytes(value)) : await store.update(key, bytes(value), at)
            mine.set(key, kv.modRevision)
            tell({ ack: key, value, revision: kv.modRevision, ms: Math.round(performance.now() - started) })
          }
        } catch (error) {
          if (!isStoreError(error, 'NotDurable')) throw error
          tell({ refused: key })
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
    }),
  )
}

/** One write at a time, watched by readers: when it was first seen, after how many milliseconds. */
async function writeSlowly(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    const key = `/slow/${i}`
    const begin = performance.now()
    const since = () => Math.round(performance.now() - begin)
    let watched: number | undefined
    const watch = store.watch('/slow/', {
      onEvents: (events) => {
        if (events.some((e) => e.kv.key === key)) watched ??= since()
      },
    })
    const done = store.create(key, bytes('x')).then(since)
    let read: number | undefined
    let listed: number | undefined
    while (read === undefined || listed === undefined) {
      if (await store.get(key)) read ??= since()
      if ((await store.list('/slow/')).items.some((kv) => kv.key === key)) listed ??= since()
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    tell({ slow: { acknowledged: await done, watched, read, listed } })
    watch.close()
  }
  await store.close()
}

await (mode === 'slow' ? writeSlowly() : writeForEver())
