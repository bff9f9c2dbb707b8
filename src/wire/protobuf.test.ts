import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mapOf, message, repeated } from '#wire'

const Inner = message('Inner', { name: [1, 'string'], on: [2, 'bool'] })
const Outer = message('Outer', {
  id: [1, 'int64'],
  small: [2, 'int32'],
  inner: [3, Inner],
  list: [4, repeated(Inner)],
  numbers: [5, repeated('uint32')],
  labels: [6, mapOf('string')],
  data: [7, 'bytes'],
  ratio: [8, 'double'],
})

test('MessageType reads back what it wrote', () => {
  const value = {
    id: 1_800_000_000_000,
    small: -7,
    inner: { name: 'a', on: true },
    list: [{ name: 'b'.repeat(300) }, { on: false }],
    numbers: [0, 1, 127, 128, 4294967295],
    labels: { a: '1', 'b/c': '' },
    data: new Uint8Array([0, 255]),
    ratio: 0.25,
  }
  assert.deepEqual(Outer.decode(Outer.encode(value)), value)
})

test('MessageType writes the bytes of the specification', () => {
  assert.equal(
    message('T', { a: [1, 'int32'] })
      .encode({ a: 150 })
      .toString('hex'),
    '089601',
  )
  assert.equal(
    message('T', { b: [2, 'string'] })
      .encode({ b: 'testing' })
      .toString('hex'),
    '120774657374696e67',
  )
})

test('MessageType skips fields it does not know and refuses what is cut short', () => {
  const bytes = Outer.encode({ id: 5, inner: { name: 'x' } })
  assert.deepEqual(message('Old', { id: [1, 'int64'] }).decode(bytes), { id: 5 })
  assert.throws(() => Outer.decode(bytes.subarray(0, -1)), /cut short/)
})
