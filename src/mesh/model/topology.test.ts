import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HOSTNAME, inPreferringNamespace, preferredLabels } from './topology.ts'

const object = (annotation: string | undefined, trafficDistribution?: string) =>
  ({
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
  }) as never
const service = (annotation: string | undefined, trafficDistribution?: string) =>
  preferredLabels(object(annotation, trafficDistribution))

// A name that every object has stopped the translation of the whole mesh: it was looked up in an object.
test('what a Service prefers is known by name; other text prefers nothing', () => {
  for (const text of [undefined, '', 'constructor', 'toString', 'Any']) assert.equal(service(text, text), undefined)
  assert.equal(service('preferclose')?.includes(HOSTNAME), false)
  assert.equal(service('PreferClose', 'PreferSameNode')?.includes(HOSTNAME), true)
})

test('what a namespace prefers counts after the service’s spec and annotation, and changes with it', () => {
  const [near, far, none] = [object('PreferSameNode'), object('Any'), object(undefined)]
  const within = (of: never, namespace: never | undefined) => preferredLabels(inPreferringNamespace(of, namespace))
  assert.equal(within(none, undefined), undefined)
  assert.equal(within(none, near)?.includes(HOSTNAME), true)
  assert.equal(inPreferringNamespace(none, near), inPreferringNamespace(none, near))
  assert.equal(within(none, object('PreferClose'))?.includes(HOSTNAME), false)
  assert.equal(within(far, near), undefined)
  assert.equal(within(object(undefined, 'PreferClose'), near)?.includes(HOSTNAME), false)
  assert.equal(inPreferringNamespace(none, undefined), none)
})
