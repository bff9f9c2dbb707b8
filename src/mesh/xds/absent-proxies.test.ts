import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '#api'
import { VirtualClock } from '#base'
import { AbsentProxies, hasProxy } from './absent-proxies.ts'

// A server that had just been restarted had no proxies to wait for: a pod that ended then was told to stop while they
// still sent it requests.
test('a proxy that was lost is waited for until it is back, or for three seconds', async () => {
  const clock = new VirtualClock()
  const absent = new AbsentProxies(clock)
  const lives = (id: string) => id !== 'dead.default'
  const waited = async () => {
    const begin = clock.now()
    await absent.returned(lives)
    return clock.now() - begin
  }
  assert.equal(await waited(), 0)
  absent.left('dead.default')
  assert.equal(await waited(), 0)
  absent.left('a.default')
  absent.left('b.default')
  absent.left('b.default')
  clock.after(500, () => absent.back('a.default'))
  const first = waited()
  await clock.advance(5000)
  assert.equal(await first, 3000)
  assert.equal(await waited(), 0)
  absent.left('a.default')
  clock.after(500, () => absent.back('a.default'))
  const second = waited()
  await clock.advance(400)
  absent.back('nobody.default')
  await clock.advance(5000)
  assert.equal(await second, 500)
})

test('a proxy runs in a pod whose proxy has started, as a native sidecar or beside the others, and that is to stay', () => {
  const proxy = { name: 'istio-proxy', started: true, state: { running: {} } }
  const pod = (status: object, metadata: object = {}) =>
    hasProxy({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a', ...metadata }, status } as unknown as KubeObject)
  assert.equal(hasProxy(undefined), false)
  assert.equal(pod({}), false)
  assert.equal(pod({ containerStatuses: [{ ...proxy, name: 'app' }] }), false)
  assert.equal(pod({ containerStatuses: [proxy] }), true)
  assert.equal(pod({ initContainerStatuses: [proxy] }), true)
  assert.equal(pod({ containerStatuses: [proxy] }, { deletionTimestamp: '2030-01-01T00:00:00Z' }), false)
  assert.equal(pod({ containerStatuses: [{ ...proxy, state: { terminated: {} } }] }), false)
  assert.equal(pod({ containerStatuses: [{ ...proxy, started: false }] }), false)
})
