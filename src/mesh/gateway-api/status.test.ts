// Conditions: what is ours is as it is now, with the time of its last change; what others wrote stays.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { timed } from './status.ts'

test('conditions that others wrote beside ours are kept, ours that no longer hold are not', () => {
  const condition = (type: string, status: 'True' | 'False') => ({ type, status, reason: type, message: '' })
  const old = (type: string, status: 'True' | 'False') => ({
    ...condition(type, status),
    observedGeneration: 1,
    lastTransitionTime: 'then',
  })
  const before = [
    old('Accepted', 'True'),
    old('ResolvedRefs', 'False'),
    old('PartiallyInvalid', 'True'),
    old('example.com/Seen', 'True'),
  ]
  const now = timed([condition('Accepted', 'True'), condition('ResolvedRefs', 'True')], before, 2, 'now')
  assert.deepEqual(
    now.map((c) => [c.type, c.status, c.observedGeneration, c.lastTransitionTime]),
    [
      ['Accepted', 'True', 2, 'then'],
      ['ResolvedRefs', 'True', 2, 'now'],
      ['example.com/Seen', 'True', 1, 'then'],
    ],
  )
})
