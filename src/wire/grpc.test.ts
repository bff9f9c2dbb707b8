import assert from 'node:assert/strict'
import { test } from 'node:test'
import { frameMessage, GrpcError, MessageReader } from './grpc.ts'

const messages = [Buffer.alloc(0), Buffer.from('one'), Buffer.alloc(300, 7), Buffer.alloc(0), Buffer.from('last')]
const stream = Buffer.concat(messages.map((m) => frameMessage(m)))

test('messages are the same however the stream is cut, and what was pushed may be used again', () => {
  for (let cut = 1; cut <= stream.length; cut++) {
    const reader = new MessageReader()
    const found: Buffer[] = []
    for (let at = 0; at < stream.length; at += cut) {
      const block = Buffer.from(stream.subarray(at, at + cut))
      found.push(...reader.push(block))
      block.fill(0xff)
    }
    assert.deepEqual(found, messages, `cut each ${cut} bytes`)
  }
})

test('a message that comes in many pieces is whole, and one that is too long is refused at its head', () => {
  const long = Buffer.from(Array.from({ length: 500_000 }, (_, i) => i & 0xff))
  const reader = new MessageReader()
  const found: Buffer[] = []
  const framed = frameMessage(long)
  for (let at = 0; at < framed.length; at += 16_384) found.push(...reader.push(framed.subarray(at, at + 16_384)))
  assert.deepEqual(found, [long])
  assert.throws(() => new MessageReader().push(Buffer.from([0, 0xff, 0xff, 0xff, 0xff])), GrpcError)
  assert.throws(() => new MessageReader().push(Buffer.from([1, 0, 0, 0, 1])), /compression 1/)
})
