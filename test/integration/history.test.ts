// Random histories of every store are explained by an order of their operations; those of broken stores are not.
// SEED and HISTORIES may be set.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startEtcd } from '#kit'
import { type KeyValue, MvccStore, openEmbeddedStore, type Store, type StoreEvent } from '#store'
import { openEtcdStore } from '#store/etcd'
import { drive, explain } from '../kit/history.ts'

const SEED = Number(process.env.SEED ?? Date.now() % 1e8)
const HISTORIES = Number(process.env.HISTORIES ?? 20)
console.log(`SEED=${SEED}`)

async function inFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'sampan-history-'))
  try {
    return await body(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

test('histories of the memory store', async () => {
  for (let i = 0; i < HISTORIES; i++) {
    const store = new MvccStore()
    const history = await drive({ seed: SEED + i, steps: 300, restarts: false, open: async () => store })
    assert.equal(explain(history), undefined, `seed ${SEED + i}`)
  }
})

test('histories of the embedded store, through restarts', async () => {
  for (let i = 0; i < HISTORIES; i++)
    await inFolder(async (folder) => {
      const open = () => openEmbeddedStore(folder, { rewriteAt: 5000 })
      const history = await drive({ seed: SEED + i, steps: 300, open })
      assert.equal(explain(history), undefined, `seed ${SEED + i}`)
    })
})

test('histories of etcd, through restarts of its client', async () => {
  await using etcd = await startEtcd()
  for (let i = 0; i < Math.min(HISTORIES, 3); i++) {
    const cleaner = await openEtcdStore(etcd.target)
    for (const { key } of (await cleaner.list('/h/')).items) await cleaner.delete(key)
    await cleaner.close()
    const history = await drive({ seed: SEED + i, steps: 150, open: () => openEtcdStore(etcd.target) })
    assert.equal(explain(history), undefined, `seed ${SEED + i}`)
  }
})

/** A store with a fault that shows now and then; `chance` says when. */
type Fault = (store: Store, chance: (one: number) => boolean) => Partial<Store>

const FAULTS: Record<string, Fault> = {
  'an acknowledgement of a write that did not take place': (store, chance) => ({
    update: async (key, value, revision) => {
      if (!chance(10)) return store.update(key, value, revision)
      const now = await store.get(key)
      if (now?.modRevision !== revision) return store.update(key, value, revision)
      return { ...now, value, modRevision: store.revision + 1 }
    },
  }),
  'an event told twice': (store, chance) => ({
    watch: (prefix, watcher, options) =>
      store.watch(
        prefix,
        { ...watcher, onEvents: (events) => watcher.onEvents(chance(20) ? [...events, ...events] : events) },
        options,
      ),
  }),
  'events in another order': (store, chance) => {
    const held = new Map<unknown, StoreEvent[]>()
    return {
      watch: (prefix, watcher, options) =>
        store.watch(
          prefix,
          {
            ...watcher,
            onEvents: (events) => {
              const before = held.get(watcher)
              held.delete(watcher)
              if (!before && chance(10)) return void held.set(watcher, [...events])
              watcher.onEvents([...events, ...(before ?? [])])
            },
          },
          options,
        ),
    }
  },
  'a revision that goes back': (store, chance) => ({
    create: async (key, value) => {
      const kv = await store.create(key, value)
      return chance(10) ? { ...kv, modRevision: kv.modRevision - 3 } : kv
    },
  }),
  'a list of the past': (store, chance) => {
    let before: Awaited<ReturnType<Store['list']>> | undefined
    return {
      list: async (prefix, options) => {
        if (before && chance(5)) return before
        before = await store.list(prefix, options)
        return before
      },
    }
  },
  'a stale read after a pause': (store, chance) => {
    const seen = new Map<string, KeyValue | undefined>()
    return {
      get: async (key) => {
        if (seen.has(key) && chance(3)) return seen.get(key)
        const kv = await store.get(key)
        seen.set(key, kv)
        return kv
      },
    }
  },
  'the event at the compaction revision skipped': (store) => {
    let compacted = 0
    return {
      compact: async (revision) => {
        compacted = revision
        await store.compact(revision)
      },
      watch: (prefix, watcher, options) =>
        store.watch(
          prefix,
          {
            ...watcher,
            onEvents: (events) => {
              const kept = events.filter((e) => e.revision !== compacted + 1)
              if (kept.length > 0) watcher.onEvents(kept)
            },
          },
          options,
        ),
    }
  },
  'the first event after a restart skipped': (store) => ({
    watch: (prefix, watcher, options) =>
      store.watch(prefix, watcher, { ...options, fromRevision: (options?.fromRevision ?? 0) + 1 }),
  }),
  'an update that does not look at its guard': (store, chance) => ({
    update: async (key, value, revision) => {
      const now = await store.get(key)
      return store.update(key, value, now && chance(3) ? now.modRevision : revision)
    },
  }),
  'a deletion that leaves the key': (store, chance) => ({
    delete: async (key, revision) => {
      if (!chance(3)) return store.delete(key, revision)
      const now = await store.get(key)
      if (!now || (revision !== undefined && now.modRevision !== revision)) return store.delete(key, revision)
      return { previous: now, revision: (await store.update(key, now.value, now.modRevision)).modRevision }
    },
  }),
  'a value shown before it is written': (store) => {
    const coming = new Map<string, Uint8Array>()
    return {
      update: async (key, value, revision) => {
        coming.set(key, value)
        try {
          return await store.update(key, value, revision)
        } finally {
          coming.delete(key)
        }
      },
      get: async (key) => {
        const kv = await store.get(key)
        const next = coming.get(key)
        return kv && next ? { ...kv, value: next, modRevision: store.revision + 1 } : kv
      },
    }
  },
  'a list that leaves a key out': (store, chance) => ({
    list: async (prefix, options) => {
      const result = await store.list(prefix, options)
      return chance(4) ? { ...result, items: result.items.slice(1) } : result
    },
  }),
}

for (const [name, fault] of Object.entries(FAULTS))
  test(`a broken store is found out: ${name}`, async () => {
    let found: string | undefined
    for (let i = 0; i < 30 && !found; i++)
      found = await inFolder(async (folder) => {
        let calls = 0
        const chance = (one: number) => ++calls % one === 0
        const open = async (): Promise<Store> => {
          const store = await openEmbeddedStore(folder)
          const broken = fault(store, chance)
          return new Proxy(store, {
            get: (target, key) => {
              const value = (broken as Record<string | symbol, unknown>)[key] ?? Reflect.get(target, key, target)
              return typeof value === 'function' ? value.bind(target) : value
            },
          })
        }
        return explain(await drive({ seed: SEED + 1000 + i, steps: 200, open }))
      })
    assert.ok(found, 'no history showed it')
    console.log(`${name}: ${found}`)
  })
