// The store's contract, run against every implementation.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { settle } from '#base'
import { startEtcd } from '#kit'
import {
  isStoreError,
  MvccStore,
  openEmbeddedStore,
  restoreBackup,
  type Store,
  type StoreEvent,
  sealedStore,
  writeBackup,
} from '#store'
import { openEtcdStore } from '#store/etcd'

const bytes = (text: string) => new TextEncoder().encode(text)
const text = (value: Uint8Array | undefined) => new TextDecoder().decode(value)

function suite(name: string, withStore: (body: (store: Store) => Promise<void>) => Promise<void>): void {
  describe(`store: ${name}`, () => {
    test('create, get, update, delete follow the revision', () =>
      withStore(async (store) => {
        const a = await store.create('/a', bytes('1'))
        assert.equal(a.createRevision, a.modRevision)
        await assert.rejects(store.create('/a', bytes('2')), (e) => isStoreError(e, 'KeyExists'))
        const b = await store.update('/a', bytes('2'), a.modRevision)
        assert.equal(b.modRevision, a.modRevision + 1)
        assert.equal(b.createRevision, a.createRevision)
        await assert.rejects(store.update('/a', bytes('3'), a.modRevision), (e) => isStoreError(e, 'Conflict'))
        await assert.rejects(store.delete('/a', a.modRevision), (e) => isStoreError(e, 'Conflict'))
        assert.equal(text((await store.get('/a'))?.value), '2')
        await store.delete('/a', b.modRevision)
        assert.equal(await store.get('/a'), undefined)
        await assert.rejects(store.delete('/a'), (e) => isStoreError(e, 'KeyMissing'))
      }))

    test('of many writers with the same revision one wins', () =>
      withStore(async (store) => {
        const a = await store.create('/a', bytes('0'))
        const results = await Promise.allSettled(
          Array.from({ length: 20 }, (_, i) => store.update('/a', bytes(String(i)), a.modRevision)),
        )
        assert.equal(results.filter((r) => r.status === 'fulfilled').length, 1)
      }))

    test('list is ordered, limited, and shows the past', () =>
      withStore(async (store) => {
        for (const k of ['/x/c', '/x/a', '/y/z', '/x/b']) await store.create(k, bytes(k))
        const { revision } = await store.list('/x/')
        await store.delete('/x/b')
        await store.create('/x/d', bytes('d'))
        const keys = (await store.list('/x/')).items.map((i) => i.key)
        assert.deepEqual(keys, ['/x/a', '/x/c', '/x/d'])
        assert.deepEqual(
          (await store.list('/x/', { revision })).items.map((i) => i.key),
          ['/x/a', '/x/b', '/x/c'],
        )
        const page = await store.list('/x/', { limit: 2 })
        assert.equal(page.more, true)
        assert.deepEqual(
          (await store.list('/x/', { from: '/x/b' })).items.map((i) => i.key),
          ['/x/c', '/x/d'],
        )
      }))

    test('watch delivers each change once, in order, from a revision on', () =>
      withStore(async (store) => {
        const first = await store.create('/w/a', bytes('1'))
        await store.update('/w/a', bytes('2'), first.modRevision)
        const seen: StoreEvent[] = []
        const watch = store.watch('/w/', { onEvents: (e) => seen.push(...e) }, { fromRevision: first.modRevision + 1 })
        await store.create('/other', bytes('x'))
        await store.delete('/w/a')
        watch.close()
        await store.create('/w/b', bytes('3'))
        assert.deepEqual(
          seen.map((e) => [e.type, e.kv.key]),
          [
            ['put', '/w/a'],
            ['delete', '/w/a'],
          ],
        )
        assert.ok(seen[0]!.revision < seen[1]!.revision)
        assert.equal(text(seen[1]!.previous?.value), '2')
      }))

    test('a compacted revision is refused for lists and watches', () =>
      withStore(async (store) => {
        const a = await store.create('/a', bytes('1'))
        await store.create('/b', bytes('1'))
        await store.compact(store.revision)
        await assert.rejects(store.list('/', { revision: a.modRevision }), (e) => isStoreError(e, 'Compacted'))
        let error: unknown
        store.watch(
          '/',
          { onEvents: () => assert.fail('must not deliver'), onError: (e) => (error = e) },
          { fromRevision: a.modRevision },
        )
        await settle()
        assert.ok(isStoreError(error, 'Compacted'))
      }))

    test('random operations agree with a plain map', () =>
      withStore(async (store) => {
        const seed = Number(process.env.SEED ?? Date.now() % 1e9)
        console.log(`seed ${seed}`)
        let state = seed
        const random = (n: number) => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) % n
        const model = new Map<string, { value: string; revision: number }>()
        for (let i = 0; i < 500; i++) {
          const key = `/k/${random(20)}`
          const known = model.get(key)
          const value = String(i)
          if (!known) model.set(key, { value, revision: (await store.create(key, bytes(value))).modRevision })
          else if (random(3) === 0) {
            await store.delete(key, known.revision)
            model.delete(key)
          } else
            model.set(key, { value, revision: (await store.update(key, bytes(value), known.revision)).modRevision })
        }
        const { items } = await store.list('/k/')
        assert.deepEqual(
          items.map((kv) => [kv.key, text(kv.value), kv.modRevision]),
          [...model].sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, v.value, v.revision]),
        )
      }))
  })
}

const inFolder = async (body: (folder: string) => Promise<void>) => {
  const folder = mkdtempSync(join(tmpdir(), 'sampan-store-'))
  try {
    await body(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

suite('memory', async (body) => body(new MvccStore()))
suite('sealed', async (body) => body(sealedStore(new MvccStore(), Buffer.alloc(32, 7), () => true)))
// One etcd for all; each store begins with nothing in it.
const etcd = startEtcd({ tls: true })
after(async () => (await etcd)[Symbol.asyncDispose]())
suite('etcd', async (body) => {
  const store = await openEtcdStore((await etcd).target)
  for (const { key } of (await store.list('/')).items) await store.delete(key)
  await body(store)
  await store.close()
})
suite('embedded', (body) =>
  inFolder(async (folder) => {
    const store = await openEmbeddedStore(folder)
    await body(store)
    await store.close()
  }))

test('a sealed value is not on disk in the clear, and opens only under its own name', async () => {
  const inner = new MvccStore()
  const store = sealedStore(inner, Buffer.alloc(32, 7), (key) => key.startsWith('/s/'))
  await store.create('/s/a', bytes('password'))
  await store.create('/open', bytes('text'))
  const raw = await inner.get('/s/a')
  assert.doesNotMatch(text(raw?.value), /password/)
  assert.equal(text((await inner.get('/open'))?.value), 'text')
  await inner.create('/s/b', raw!.value)
  await assert.rejects(store.get('/s/b'), (e) => isStoreError(e, 'Corrupt'))
  const other = sealedStore(inner, Buffer.alloc(32, 8), () => true)
  await assert.rejects(other.get('/s/a'), /sealed with another key/)
})

describe('store: embedded, durability', () => {
  const fill = async (folder: string, count: number, rewriteAt?: number) => {
    const store = await openEmbeddedStore(folder, rewriteAt === undefined ? {} : { rewriteAt })
    for (let i = 0; i < count; i++) await store.create(`/d/${String(i).padStart(4, '0')}`, bytes(`value ${i}`))
    const { revision } = store
    await store.close()
    return revision
  }

  test('everything acknowledged is there after reopening, at the same revision', () =>
    inFolder(async (folder) => {
      const revision = await fill(folder, 50)
      const store = await openEmbeddedStore(folder)
      assert.equal(store.revision, revision)
      assert.equal((await store.list('/d/')).items.length, 50)
      await store.close()
    }))

  test('a write cut short by a crash is forgotten, what is before it stays', () =>
    inFolder(async (folder) => {
      await fill(folder, 10)
      const file = join(folder, 'journal')
      const data = readFileSync(file)
      writeFileSync(file, data.subarray(0, data.length - 5))
      const store = await openEmbeddedStore(folder)
      assert.equal((await store.list('/d/')).items.length, 9)
      await store.create('/d/0009', bytes('again'))
      await store.close()
      const again = await openEmbeddedStore(folder)
      assert.equal((await again.list('/d/')).items.length, 10)
      await again.close()
    }))

  test('a flipped byte is named, and nothing is served', () =>
    inFolder(async (folder) => {
      await fill(folder, 10)
      const file = join(folder, 'journal')
      const data = readFileSync(file)
      data[100]! ^= 1
      writeFileSync(file, data)
      await assert.rejects(
        openEmbeddedStore(folder),
        (e) => isStoreError(e, 'Corrupt') && /journal.*byte \d+/.test((e as Error).message),
      )
    }))

  // The last frame cannot be told from a torn one by its checksum alone: a flip in it lost an acknowledged write.
  test('a flipped byte anywhere, in the last frame too, is named, and nothing is served', () =>
    inFolder(async (folder) => {
      await fill(folder, 3)
      const file = join(folder, 'journal')
      const good = readFileSync(file)
      for (let at = 0; at < good.length; at++) {
        const data = Buffer.from(good)
        data[at]! ^= 1 << (at % 8)
        writeFileSync(file, data)
        await assert.rejects(openEmbeddedStore(folder), (e) => isStoreError(e, 'Corrupt'), `byte ${at}`)
      }
    }))

  test('a last write whose sectors did not all reach the disk is forgotten', () =>
    inFolder(async (folder) => {
      await fill(folder, 1)
      const file = join(folder, 'journal')
      const before = readFileSync(file).length
      const store = await openEmbeddedStore(folder)
      await store.create('/big', bytes('x'.repeat(5000)))
      await store.close()
      const data = readFileSync(file)
      for (const [from, to] of [
        [before, data.length],
        [before, Math.ceil(before / 512) * 512],
        [1024, 1536],
        [data.length - (data.length % 512), data.length],
      ] as const) {
        const torn = Buffer.from(data)
        torn.fill(0, from, to)
        writeFileSync(file, torn)
        const again = await openEmbeddedStore(folder)
        assert.deepEqual(
          (await again.list('/')).items.map((i) => i.key),
          ['/d/0000'],
        )
        await again.close()
      }
    }))

  test('a backup taken in the midst of writes holds what was acknowledged, and comes back whole', () =>
    inFolder(async (folder) => {
      const [from, to, file] = [join(folder, 'a'), join(folder, 'b'), join(folder, 'backup')]
      const store = await openEmbeddedStore(from)
      for (let i = 0; i < 50; i++) await store.create(`/k/${i}`, bytes(`v${i}`))
      await store.delete('/k/7')
      const later = Array.from({ length: 50 }, (_, i) => store.create(`/later/${i}`, bytes('x')))
      const key = bytes('key')
      const summary = await writeBackup(from, file, new Map([['ca.key', key]]))
      await Promise.all(later)
      await store.close()
      const { files, keys } = await restoreBackup(file, to)
      assert.equal(keys, summary.keys)
      assert.deepEqual(
        [...files].map(([name, value]) => [name, text(value)]),
        [['ca.key', 'key']],
      )
      const again = await openEmbeddedStore(to)
      assert.deepEqual(
        (await again.list('/k/')).items.map((i) => [i.key, text(i.value)]),
        Array.from({ length: 50 }, (_, i) => [`/k/${i}`, `v${i}`])
          .filter(([k]) => k !== '/k/7')
          .sort(([a], [b]) => (a! < b! ? -1 : 1)),
      )
      assert.ok(again.revision > store.revision, 'revisions go on far behind those of the backup')
      await again.close()
      const data = readFileSync(file)
      for (const at of [3, 200, data.length - 60, data.length - 1]) {
        const bad = Buffer.from(data)
        bad[at]! ^= 4
        writeFileSync(file, bad)
        await assert.rejects(restoreBackup(file, to), (e) => isStoreError(e, 'Corrupt'), `byte ${at}`)
      }
    }))

  test('a key written over and over does not make the file grow', () =>
    inFolder(async (folder) => {
      const store = await openEmbeddedStore(folder, { rewriteAt: 20_000 })
      let kv = await store.create('/lease', bytes('x'.repeat(200)))
      const others = Array.from({ length: 20 }, (_, i) => store.create(`/o/${i}`, bytes('y')))
      await Promise.all(others)
      for (let i = 0; i < 2000; i++) kv = await store.update('/lease', bytes(`${'x'.repeat(200)}${i}`), kv.modRevision)
      await store.close()
      assert.ok(readFileSync(join(folder, 'journal')).length < 100_000)
      const again = await openEmbeddedStore(folder)
      assert.equal((await again.list('/')).items.length, 21)
      assert.equal((await again.get('/lease'))?.modRevision, kv.modRevision)
      await again.close()
    }))
})
