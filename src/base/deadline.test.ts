import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Deadline } from './deadline.ts'

// A timer of more than 2^31-1 ms ends at once: every request of a route with a timeout of a month was answered with 504.
test('a deadline of a month does not come at once', async () => {
  let came = false
  const deadline = new Deadline(30 * 86_400_000, () => {
    came = true
  })
  const sooner = new Promise<void>((resolve) => new Deadline(5, resolve))
  await sooner
  assert.equal(came, false)
  deadline.cancel()
})
