// Turns of users: who floods waits for himself.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isTooManyRequests } from '#api'
import { FairQueue } from './fair-queue.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('a user alone is never held up', () => {
  const queue = new FairQueue({ now: () => 0 })
  for (let i = 0; i < 100; i++) assert.equal(queue.enter('a'), undefined)
})

test('what a quiet user sends begins ahead of a busy one’s backlog', async () => {
  const queue = new FairQueue({ now: () => 0 })
  const begun: string[] = []
  const send = (user: string) => {
    const begin = () => {
      begun.push(user)
      setImmediate(() => queue.leave(user))
    }
    const wait = queue.enter(user)
    if (wait) void wait.then(begin)
    else begin()
  }
  send('busy')
  send('quiet')
  for (let i = 0; i < 100; i++) send('busy')
  send('quiet')
  for (let i = 0; i < 5; i++) await turn()
  assert.ok(begun.indexOf('quiet') <= 4)
  assert.ok(begun.lastIndexOf('quiet') <= 8, `begun: ${begun.slice(0, 20)}`)
  assert.ok(begun.length < 40, 'not all at once')
  for (let i = 0; i < 100; i++) await turn()
  assert.equal(begun.length, 103)
})

test('beside others a user has few requests under way, and nothing turns in circles while they last', async () => {
  const queue = new FairQueue({ now: () => 0 })
  queue.enter('busy')
  queue.enter('other')
  let begun = 0
  for (let i = 0; i < 50; i++) void queue.enter('busy')?.then(() => begun++)
  for (let i = 0; i < 50; i++) await turn()
  assert.equal(begun, 3)
  const busy = await busyShare()
  assert.ok(busy < 0.5, `the event loop is busy ${Math.round(busy * 100)} % of the time`)
  queue.leave('busy')
  for (let i = 0; i < 5; i++) await turn()
  assert.equal(begun, 4)
})

/** How much of 50 ms the event loop is at work: one that only waits is idle. */
async function busyShare(): Promise<number> {
  const before = performance.eventLoopUtilization()
  await new Promise((resolve) => setTimeout(resolve, 50))
  return performance.eventLoopUtilization(before).utilization
}

test('a user who has too many waiting is refused, others are not', async () => {
  const queue = new FairQueue({ seats: 2, queue: 3, now: () => 0 })
  for (let i = 0; i < 2; i++) assert.equal(queue.enter('busy'), undefined)
  const waiting = [1, 2, 3].map(() => queue.enter('busy'))
  assert.throws(() => queue.enter('busy'), isTooManyRequests)
  await queue.enter('other')
  let begun = 0
  for (const w of waiting) void w?.then(() => begun++)
  await turn()
  assert.equal(begun, 0)
  queue.leave('busy')
  for (let i = 0; i < 3; i++) await turn()
  assert.equal(begun, 1)
  queue.leave('busy')
  queue.leave('busy')
  for (let i = 0; i < 3; i++) await turn()
  assert.equal(begun, 3)
  assert.deepEqual(queue.counts, { waiting: 0, rejected: 1 })
})

test('watches and streams are counted', () => {
  const queue = new FairQueue({ longRunning: 2 })
  const first = queue.stay('a')
  queue.stay('a')
  assert.throws(() => queue.stay('a'), isTooManyRequests)
  first()
  first()
  queue.stay('a')
  assert.throws(() => queue.stay('a'), isTooManyRequests)
  queue.stay('b')
})
