import assert from 'node:assert/strict'
import { test } from 'node:test'
import { packAny, toStruct, xds } from '#api/xds'
import { decodeFilter } from './registry.ts'

const NAME = 'envoy.filters.http.local_ratelimit'
const RATE_LIMIT = 'type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit'

const filter = (value: Record<string, unknown>, type_url = RATE_LIMIT) => ({
  name: NAME,
  typed_config: {
    ...packAny(xds('xds.type.v3.TypedStruct'), { type_url, value: toStruct(value) }),
    type_url: 'type.googleapis.com/udpa.type.v1.TypedStruct',
  },
})

test('a filter in JSON’s clothes is what it would be in its own', () => {
  const bucket = { max_tokens: 4, tokens_per_fill: 4, fill_interval: '60s' }
  assert.ok(decodeFilter(filter({ stat_prefix: 'l', token_bucket: bucket }), 'l'))
})

test('what cannot be read in it is refused by name', () => {
  assert.throws(() => decodeFilter(filter({ token_buckets: {} }), 'l'), /LocalRateLimit has no field token_buckets/)
  assert.throws(
    () => decodeFilter(filter({}, 'type.googleapis.com/envoy.unheard.of'), 'l'),
    /filter envoy.filters.http.local_ratelimit \(envoy.unheard.of\) is not supported/,
  )
})
