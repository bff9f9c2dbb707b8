// Of two servers on one store one runs the controllers; the other takes over when it goes.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resources as R } from '#api'
import { settle, VirtualClock } from '#base'
import { runAsLeader } from '#client'
import { silentLog, startApi } from '#kit'

test('the lease goes to another once it was not renewed for 15 s, and back at once when it is given up', async () => {
  await using api = await startApi()
  const clock = new VirtualClock()
  const leading: string[] = []
  const stand = (identity: string) => {
    const stop = new AbortController()
    const paused = { is: false }
    const client = {
      ...api.client,
      update: (...args: Parameters<typeof api.client.update>) =>
        paused.is ? Promise.reject(new Error('cut off')) : api.client.update(...args),
    }
    const done = runAsLeader(
      { client, clock, log: silentLog, name: 'kube-controller-manager', identity },
      (term) => {
        leading.push(identity)
        term.addEventListener('abort', () => leading.splice(leading.indexOf(identity), 1))
      },
      stop.signal,
    )
    return { stop, paused, done }
  }
  const advance = async (seconds: number) => {
    for (let i = 0; i < seconds; i++) {
      await clock.advance(1000)
      await settle()
      assert.ok(leading.length <= 1, `two lead: ${leading}`)
    }
  }
  const a = stand('a')
  await settle()
  const b = stand('b')
  await advance(60)
  assert.deepEqual(leading, ['a'])
  // Cut off from the lease, a must stop before b begins.
  a.paused.is = true
  await advance(12)
  assert.deepEqual(leading, [])
  await advance(8)
  assert.deepEqual(leading, ['b'])
  a.paused.is = false
  const lease = () => api.client.get(R.leases, 'kube-system', 'kube-controller-manager')
  assert.equal((await lease()).spec.holderIdentity, 'b')
  assert.equal((await lease()).spec.leaseTransitions, 1)
  b.stop.abort()
  await b.done
  assert.equal((await lease()).spec.holderIdentity, '')
  await advance(3)
  assert.deepEqual(leading, ['a'])
  a.stop.abort()
  await a.done
})
