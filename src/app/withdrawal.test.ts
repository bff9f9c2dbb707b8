// A pod was told to stop as soon as every proxy knew; requests that they had sent before, and that its sidecar had not read
// or its application not answered yet, were not waited for.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { VirtualClock } from '#base'
import { requestsEnded } from './withdrawal.ts'

/** How many looks it takes until a sidecar that says these counts is let go; the last one is said for ever. */
async function looks(counts: readonly (number | string)[]): Promise<number> {
  let asked = 0
  const server = createServer((request, response) => {
    assert.equal(request.url, '/requests/active')
    const count = counts[Math.min(asked++, counts.length - 1)]
    if (typeof count === 'string') response.writeHead(404).end(count)
    else response.end(`${count}\n`)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const clock = new VirtualClock()
  let done = false
  const ended = requestsEnded(clock, '127.0.0.1', (server.address() as AddressInfo).port).then(() => {
    done = true
  })
  while (!done) await clock.advance(10)
  await ended
  server.close()
  return asked
}

test('a pod is told to stop when its sidecar has answered what was on its way', async () => {
  assert.equal(await looks([0]), 2, 'none, twice')
  assert.equal(await looks([3, 1, 0, 0]), 4)
  assert.equal(await looks([0, 2, 0, 0]), 4, 'what was in its socket at the first look')
})

test('streams, sidecars that do not say, and pods without one are not waited for', async () => {
  assert.equal(await looks([7, 5]), 12, 'the same five for half a second')
  assert.ok((await looks(Array.from({ length: 100 }, (_, i) => 100 + i))) <= 40)
  assert.equal(await looks(['no such page']), 1)
  await requestsEnded(new VirtualClock(), '127.0.0.1', 1)
})
