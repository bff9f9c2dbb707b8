import assert from 'node:assert/strict'
import { test } from 'node:test'
import { staysPlain } from './plain-tls.ts'

const mutual = { tls: { mode: 'ISTIO_MUTUAL' } }

test('a DestinationRule is told wherever it asks for certificates that workloads have not got', () => {
  assert.deepEqual(staysPlain(undefined), [])
  assert.deepEqual(staysPlain({ host: 'a', trafficPolicy: { tls: { mode: 'SIMPLE' } } }), [])
  const spec = {
    host: 'a',
    trafficPolicy: { ...mutual, portLevelSettings: [{ port: { number: 80 } }, mutual] },
    subsets: [{ name: 'v1' }, { name: 'v2', trafficPolicy: mutual }],
  }
  assert.deepEqual(staysPlain(spec), [
    'spec.trafficPolicy.tls.mode',
    'spec.trafficPolicy.portLevelSettings[1].tls.mode',
    'spec.subsets[1].trafficPolicy.tls.mode',
  ])
})
