// What istioctl is told on ADS, in the shapes that it reads.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fromStruct, TYPE, toStruct, xds } from '#api/xds'
import { silentLog } from '#base'
import { emptyResources } from '#mesh'
import type { Message, ServerCall } from '#wire'
import { AdsServer } from './ads-server.ts'
import { type DebugOptions, debugAnswer } from './debug.ts'
import { debugResponse, isDebugType } from './debug-types.ts'
import { encodeLayer } from './resource-set.ts'

/** A control plane that one proxy, "client.default", has asked for clusters. */
async function asked(): Promise<DebugOptions> {
  const layer = encodeLayer({ ...emptyResources(), clusters: new Map([['c', { name: 'c' }]]) }, undefined)
  const ads = new AdsServer({
    log: silentLog,
    layers: () => [layer],
    authenticate: async () => ({ name: 'system:serviceaccount:default:default', groups: [] }),
    onAnswer: () => {},
  })
  const call: ServerCall = {
    headers: {},
    peer: '',
    secure: true,
    backlog: 0,
    send: () => {},
    sendParts: () => {},
    end: (_code, message) => assert.fail(message),
    onMessage: () => {},
    onEnd: () => {},
    onClose: () => {},
  }
  ads.methods[0]!.handle(call)
  await nextTurn()
  // What a proxy says of itself may be of any shape.
  const metadata = toStruct({ POD_PORTS: [{ containerPort: 80 }], NAMESPACE: 'default' })
  call.onMessage({ node: { id: 'sidecar~10.0.0.9~client.default~d', metadata }, type_url: TYPE.cluster })
  await nextTurn()
  return {
    ads,
    layers: () => [layer],
    snapshot: () => assert.fail('nobody asks for it'),
    metrics: () => '',
    nacks: () => ({}),
  }
}

test('istio.io/debug/syncz: a proxy’s node has what istioctl reads, and nothing that it cannot', async () => {
  const { resources } = debugResponse({ type_url: 'istio.io/debug/syncz' }, await asked())
  const [config] = (resources as Message[]).map((r) => xds('envoy.service.status.v3.ClientConfig').decode(r.value))
  assert.equal(config!.node.id, 'client.default')
  // Ports as a list, which Istio's metadata has as a text, made proxy-status fail for all.
  assert.deepEqual(Object.keys(fromStruct(config!.node.metadata)).sort(), ['CLUSTER_ID', 'ISTIO_VERSION', 'NAMESPACE'])
  assert.equal(config!.generic_xds_configs[0].type_url, TYPE.cluster)
})

test('istio.io/debug: a page of the monitoring port, by its name', async () => {
  const { resources } = debugResponse({ type_url: 'istio.io/debug', resource_names: ['syncz'] }, await asked())
  const [{ type_url, value }] = resources as [Message]
  assert.equal(type_url, 'istio.io/debug')
  assert.equal(JSON.parse(value.toString())[0].proxy, 'client.default')
})

test('istio.io/debug/config_dump: what a proxy is told, as Envoy would dump it', async () => {
  const options = await asked()
  const dump = (id: string) =>
    debugResponse({ type_url: 'istio.io/debug/config_dump', resource_names: [id] }, options).resources as Message[]
  assert.deepEqual(
    dump('client.default').map((r) => r.type_url),
    ['Clusters', 'Listeners', 'Routes'].map((k) => `type.googleapis.com/envoy.admin.v3.${k}ConfigDump`),
  )
  // Field 3 of the dump, field 2 of its entry: the cluster itself.
  assert.ok(dump('client.default')[0]!.value.includes(TYPE.cluster))
  assert.deepEqual(dump('nobody.default'), [])
})

test('the version is told as Istio does, also where two slashes are asked for', async () => {
  const options = await asked()
  for (const path of ['/version', '//version'])
    assert.match(debugAnswer(options, path).body, /^\d+\.\d+-sampan-\w+-Clean$/)
})

test('only debug types are taken for such', () => {
  assert.deepEqual(['istio.io/debug', 'istio.io/debug/syncz', 'istio.io/debugger', TYPE.cluster].map(isDebugType), [
    true,
    true,
    false,
    false,
  ])
})
