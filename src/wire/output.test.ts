// Outputs of several connections, written at the end of a turn.

import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Output } from '#wire'

test('pieces of a turn go out together, those of every connection at its end', async () => {
  const streams = [new PassThrough(), new PassThrough()]
  const outputs = streams.map((s) => new Output(s))
  for (const piece of ['a', 'b']) for (const output of outputs) output.write(piece)
  assert.deepEqual(
    streams.map((s) => s.readableLength),
    [0, 0],
  )
  await nextTurn()
  assert.deepEqual(
    streams.map((s) => String(s.read())),
    ['ab', 'ab'],
  )
})

test('a connection that fails while it is written ends, and holds up no other: these were never written again', async () => {
  const [bad, good] = [new PassThrough(), new PassThrough()]
  let told: Error | undefined
  bad.on('error', (error) => {
    told = error
  })
  bad.write = () => {
    throw new Error('broken')
  }
  const outputs = [new Output(bad), new Output(good)]
  for (const output of outputs) output.write('x')
  await nextTurn()
  assert.equal(String(good.read()), 'x')
  outputs[1]!.write('y')
  await nextTurn()
  assert.equal(String(good.read()), 'y')
  assert.ok(bad.destroyed)
  await nextTurn()
  assert.equal(told?.message, 'broken')
})
