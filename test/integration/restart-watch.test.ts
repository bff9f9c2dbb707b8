// A watch goes on after a restart where it was: nothing lost, nothing twice.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { test } from 'node:test'
import { type KubeObject, resources } from '#api'
import { openEmbeddedStore, sealedStore } from '#store'
import { ObjectStore } from '../../src/apiserver/object-store.ts'
import type { CacheEvent } from '../../src/apiserver/watch-cache.ts'

const kind = resources.configMaps as never
const map = (name: string, value: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'default', uid: name, resourceVersion: '', creationTimestamp: '' },
  data: { value },
})

test('events before a restart are delivered after it, from any revision that a client has seen', async () => {
  const directory = mkdtempSync('/tmp/sampan-restart-')
  const key = randomBytes(32)
  const open = async () => {
    const store = sealedStore(await openEmbeddedStore(directory), key, () => true)
    return { store, objects: new ObjectStore(store) }
  }
  type Told = [type: string, name: string, value: string, revision: number]
  const told = ({ type, entry, revision }: CacheEvent): Told => [
    type,
    entry.object.metadata.name,
    entry.object.data?.value,
    revision,
  ]
  const written: Told[] = []
  try {
    for (let restart = 0; restart < 3; restart++) {
      const { store, objects } = await open()
      const cache = await objects.cache(kind)
      cache.subscribe({}, ({ events }) => written.push(...events.map(told)))
      const a = await objects.create(kind, map(`a${restart}`, '1'))
      await objects.replace(kind, a, { ...a.object, data: { value: '2' } })
      const b = await objects.create(kind, map(`b${restart}`, '1'))
      await objects.remove(kind, b)
      await store.close()
    }
    const { store, objects } = await open()
    const cache = await objects.cache(kind)
    assert.equal(written.length, 12)
    for (let from = 0; from <= written.length; from++) {
      const since = from === 0 ? written[0]![3] - 1 : written[from - 1]![3]
      const seen: unknown[] = []
      cache.watch(since, {}, ({ events }) => seen.push(...events.map(told)))()
      assert.deepEqual(seen, written.slice(from))
    }
    await store.close()
  } finally {
    rmSync(directory, { recursive: true })
  }
})
