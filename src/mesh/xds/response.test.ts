// Responses in pieces are what the messages would be.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { deltaAggregatedResources, streamAggregatedResources, TYPE } from '#api/xds'
import { randomRuns } from '#kit'
import { responseParts } from './response.ts'

const resource = fc.record({
  name: fc.string({ unit: 'grapheme', maxLength: 200 }),
  host: fc.constant(undefined),
  version: fc.string({ maxLength: 12 }),
  body: fc
    .oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 2000, max: 70_000 }))
    .map((n) => Buffer.alloc(n, 'ab')),
})

test('a response in pieces says what its message says, whatever the sizes', () => {
  fc.assert(
    fc.property(
      fc.array(resource, { maxLength: 6 }),
      fc.array(fc.string({ unit: 'grapheme', minLength: 1 }), { maxLength: 3 }),
      (resources, removed) => {
        const options = { url: TYPE.cluster, nonce: '7', resources, removed }
        const whole = (delta: boolean) => Buffer.concat(responseParts({ ...options, delta }))
        const any = (value: Buffer) => ({ type_url: TYPE.cluster, value })
        assert.deepEqual(
          streamAggregatedResources.response.decode(whole(false)),
          streamAggregatedResources.response.decode(
            streamAggregatedResources.response.encode({
              version_info: '7',
              type_url: TYPE.cluster,
              nonce: '7',
              resources: resources.map((r) => any(r.body)),
            }),
          ),
        )
        assert.deepEqual(
          deltaAggregatedResources.response.decode(whole(true)),
          deltaAggregatedResources.response.decode(
            deltaAggregatedResources.response.encode({
              system_version_info: '7',
              type_url: TYPE.cluster,
              nonce: '7',
              resources: resources.map((r) => ({ name: r.name, version: r.version, resource: any(r.body) })),
              removed_resources: removed,
            }),
          ),
        )
      },
    ),
    randomRuns(100),
  )
})
