// Which namespaces the mesh sees: MeshConfig.discoverySelectors, on a real API server.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resources as R } from '#api'
import { systemClock } from '#base'
import { Informers } from '#client'
import { silentLog, startApi } from '#kit'
import { ClusterView } from '../../src/mesh/cluster-view.ts'
import { installKinds } from '../../src/mesh/schema/install.ts'

test('the mesh sees the namespaces that discoverySelectors name, as their labels and MeshConfig are now', async () => {
  await using api = await startApi()
  const { client } = api
  await installKinds(client)
  const stop = new AbortController()
  const informers = new Informers(client, systemClock, silentLog, stop.signal)
  const view = new ClusterView(informers, silentLog)
  let changes = 0
  try {
    await client.create(R.namespaces, { metadata: { name: 'istio-system' } })
    for (const name of ['in', 'out'])
      await client.create(R.namespaces, { metadata: { name, labels: { mesh: name === 'in' ? 'yes' : 'no' } } })
    for (const namespace of ['in', 'out']) {
      await client.create(R.services, { metadata: { name: 'web', namespace }, spec: { ports: [{ port: 80 }] } })
      const spec = { host: 'web', trafficPolicy: { loadBalancer: { simple: 'RANDOM' } } }
      await client.create(R.destinationRules, { metadata: { name: 'web', namespace }, spec })
      const route = { parentRefs: [{ kind: 'Service', group: '', name: 'web' }], rules: [{}] }
      await client.create(R.httpRoutes, { metadata: { name: 'web', namespace }, spec: route })
    }
    await view.open()
    view.follow(() => changes++)
    const seen = () => {
      const { services, destinationRules, virtualServices } = view.now()
      const of = (list: readonly { metadata: { namespace?: string } }[]) =>
        [...new Set(list.map((o) => o.metadata.namespace))].filter((n) => n === 'in' || n === 'out').sort()
      return [of(services), of(destinationRules), of(virtualServices)]
    }
    /** Resolves when what was written has been heard of. */
    const after = async (write: Promise<unknown>) => {
      const before = changes
      await write
      while (changes === before) await new Promise((resolve) => setImmediate(resolve))
    }
    const all = [
      ['in', 'out'],
      ['in', 'out'],
      ['in', 'out'],
    ]
    assert.deepEqual(seen(), all)
    const mesh =
      'discoverySelectors:\n- matchLabels: {mesh: yes-please}\n- matchExpressions: [{key: mesh, operator: In, values: ["yes"]}]\n'
    await after(client.create(R.configMaps, { metadata: { name: 'istio', namespace: 'istio-system' }, data: { mesh } }))
    assert.deepEqual(seen(), [['in'], ['in'], ['in']])
    await after(client.patch(R.namespaces, '', 'out', { metadata: { labels: { mesh: 'yes-please' } } }))
    assert.deepEqual(seen(), all)
    await after(client.patch(R.namespaces, '', 'in', { metadata: { labels: { mesh: null } } }))
    assert.deepEqual(seen(), [['out'], ['out'], ['out']])
    await after(client.delete(R.configMaps, 'istio-system', 'istio'))
    assert.deepEqual(seen(), all)
  } finally {
    stop.abort()
  }
})
