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

// A length of ten bytes is negative: the reader went back to where it had been, for ever.
test('a length below nothing is an error', () => {
  const negative = (-2048n & 0xffff_ffff_ffff_ffffn).toString(2).padStart(70, '0')
  const groups = Array.from({ length: 10 }, (_, i) => Number.parseInt(negative.slice(70 - 7 * (i + 1), 70 - 7 * i), 2))
  const length = groups.map((g, i) => (i < 9 ? g | 128 : g))
  for (const field of [1, 7, 99]) {
    const bytes = Buffer.concat([Buffer.alloc(4000), Buffer.from([...varint(field * 8 + 2), ...length])])
    for (let i = 0; i < 4000; i += 2) bytes.set([15 * 8, 0], i)
    assert.throws(() => message('M', { name: [1, 'string'], data: [7, 'bytes'] }).decode(bytes), /cut short/)
  }
})

const varint = (n: number) => (n < 128 ? [n] : [(n & 127) | 128, n >> 7])

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
