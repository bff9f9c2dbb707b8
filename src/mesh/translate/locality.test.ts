import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MeshEndpoint } from '../model/endpoints.ts'
import { localityGroups } from './locality.ts'

const at = (locality: string): MeshEndpoint => ({
  address: '10.0.0.1',
  port: 80,
  labels: {},
  locality,
  weight: 1,
  network: '',
  node: '',
  ready: true,
  workload: '',
})

// Each pattern took all that it fits: a locality of its own share was given part of the rest too.
test('a wildcard shares what narrower patterns leave, in whatever order they are written', () => {
  const endpoints = [at('us/a'), at('us/b')]
  for (const to of [
    { 'us/a': 20, 'us/*': 80 },
    { 'us/*': 80, 'us/a': 20 },
  ]) {
    const policy = { setting: { distribute: [{ from: '*', to }] }, zoneAware: false, failsOver: false }
    const groups = localityGroups(endpoints, policy, { locality: 'eu/a', labels: {} })
    assert.deepEqual(
      groups.map((g) => [g.locality, g.weight]),
      [
        ['us/a', 2000],
        ['us/b', 8000],
      ],
    )
  }
})
