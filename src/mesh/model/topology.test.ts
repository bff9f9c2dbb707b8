import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HOSTNAME, preferredLabels } from './topology.ts'

const service = (annotation: string | undefined, trafficDistribution?: string) =>
  preferredLabels({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: 'a',
      uid: '1',
      resourceVersion: '1',
      creationTimestamp: '2026-01-01T00:00:00Z',
      annotations: annotation === undefined ? undefined : { 'networking.istio.io/traffic-distribution': annotation },
    },
    spec: { trafficDistribution },
  } as never)

// A name that every object has stopped the translation of the whole mesh: it was looked up in an object.
test('what a Service prefers is known by name; other text prefers nothing', () => {
  for (const text of [undefined, '', 'constructor', 'toString', 'Any']) assert.equal(service(text, text), undefined)
  assert.equal(service('preferclose')?.includes(HOSTNAME), false)
  assert.equal(service('PreferClose', 'PreferSameNode')?.includes(HOSTNAME), true)
})
