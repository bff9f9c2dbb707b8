// Two API servers on one etcd of three members: what one writes the other shows, no name twice, no update lost.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Json, resources as R } from '#api'
import { sleep, systemClock } from '#base'
import { call, startApi, startEtcd } from '#kit'
import { openEtcdStore } from '#store/etcd'

const MAPS = '/api/v1/namespaces/default/configmaps'
const merge = { type: 'application/merge-patch+json' }

/** Waits for what must come true. */
async function until(what: string, holds: () => Promise<boolean> | boolean, ms = 30_000): Promise<void> {
  const end = Date.now() + ms
  while (!(await holds())) {
    assert.ok(Date.now() < end, `not within ${ms} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

test('two API servers share an etcd of three members, one of which is killed', async () => {
  await using etcd = await startEtcd({ members: 3, tls: true })
  const stores = [await openEtcdStore(etcd.target), await openEtcdStore(etcd.target)]
  const start = (i: number) => startApi({ store: stores[i]!, clock: systemClock, controllers: `server-${i}` })
  const a = await start(0)
  const b = await start(1)
  try {
    // Whoever reads after a write sees it, whichever server it asks; lists too.
    for (let i = 0; i < 20; i++) {
      const [one, other] = i % 2 ? [a, b] : [b, a]
      assert.equal((await call(one, 'POST', MAPS, { metadata: { name: `seen-${i}` } })).status, 201)
      assert.equal((await call(other, 'GET', `${MAPS}/seen-${i}`)).status, 200)
      const list = (await call(other, 'GET', MAPS)).body
      assert.ok(list.items.some((o: Json) => o.metadata.name === `seen-${i}`))
      assert.equal((await call(other, 'PATCH', `${MAPS}/seen-${i}`, { data: { i: `${i}` } }, merge)).status, 200)
      assert.equal((await call(one, 'GET', `${MAPS}/seen-${i}`)).body.data.i, `${i}`)
      assert.equal((await call(one, 'DELETE', `${MAPS}/seen-${i}`)).status, 200)
      assert.equal((await call(other, 'GET', `${MAPS}/seen-${i}`)).status, 404)
    }

    // A name is given once.
    for (let i = 0; i < 10; i++) {
      const answers = await Promise.all(
        [a, b, a, b].map((api) => call(api, 'POST', MAPS, { metadata: { name: `once-${i}` } })),
      )
      assert.deepEqual(answers.map((r) => r.status).sort(), [201, 409, 409, 409])
    }

    // Updates are guarded: of those that began at one version one wins; patches all count.
    await call(a, 'POST', MAPS, { metadata: { name: 'counter' }, data: { n: '0' } })
    const now = (await call(a, 'GET', `${MAPS}/counter`)).body
    const puts = await Promise.all(
      [a, b, a, b].map((api, i) => call(api, 'PUT', `${MAPS}/counter`, { ...now, data: { n: String(i + 1) } })),
    )
    assert.deepEqual(puts.map((r) => r.status).sort(), [200, 409, 409, 409])
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const r = await call(i % 2 ? a : b, 'PATCH', `${MAPS}/counter`, { data: { [`k${i}`]: 'x' } }, merge)
        assert.equal(r.status, 200, JSON.stringify(r.body))
      }),
    )
    assert.equal(Object.keys((await call(b, 'GET', `${MAPS}/counter`)).body.data).length, 21)

    // A watch at one server shows every write of both, once and in order.
    const seen: string[] = []
    const { resourceVersion } = await b.client.list(R.configMaps)
    const watch = b.client.watch(R.configMaps, resourceVersion, {
      onEvent: (type, o) => o.metadata.name.startsWith('w-') && seen.push(`${type} ${o.metadata.name}`),
      onEnd: () => {},
    })
    const expected: string[] = []
    let member = 0
    let back: Promise<void> | undefined
    for (let i = 0; i < 60; i++) {
      // In the midst of it a member goes; which one leads is not known, so all go in turn.
      if (i % 20 === 10) {
        await etcd.kill(member)
        back = sleep(systemClock, 300).then(() => etcd.start(member++))
      }
      if (i % 20 === 19) await back
      const r = await call(i % 2 ? a : b, 'POST', MAPS, { metadata: { name: `w-${i}` } })
      assert.equal(r.status, 201, JSON.stringify(r.body))
      expected.push(`ADDED w-${i}`)
    }
    await until('all events', () => seen.length >= expected.length)
    watch.close()
    assert.deepEqual(seen, expected)

    // One of them runs the controllers, and the other goes on when it ends.
    const deployment = (name: string) => ({
      metadata: { name },
      spec: {
        replicas: 2,
        selector: { matchLabels: { app: name } },
        template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c', image: 'i:v1' }] } },
      },
    })
    const pods = async (name: string) => (await b.client.list(R.pods, { labelSelector: `app=${name}` })).items.length
    await call(a, 'POST', '/apis/apps/v1/namespaces/default/deployments', deployment('one'))
    await until('two pods', async () => (await pods('one')) === 2)
    const leader = async () =>
      (await b.client.get(R.leases, 'kube-system', 'kube-controller-manager')).spec.holderIdentity
    assert.equal(await leader(), 'server-0')
    await a[Symbol.asyncDispose]()
    await until('the other leads', async () => (await leader()) === 'server-1')
    await call(b, 'POST', '/apis/apps/v1/namespaces/default/deployments', deployment('two'))
    await until('two pods', async () => (await pods('two')) === 2)
    assert.equal(await pods('one'), 2)
  } finally {
    await a[Symbol.asyncDispose]()
    await b[Symbol.asyncDispose]()
    for (const store of stores) await store.close()
  }
})

test('an API server whose etcd forgot what it had not seen lists anew and shows the difference', async () => {
  await using etcd = await startEtcd()
  const store = await openEtcdStore(etcd.target)
  const other = await openEtcdStore(etcd.target)
  const api = await startApi({ store })
  try {
    const seen: string[] = []
    await call(api, 'POST', MAPS, { metadata: { name: 'goes' } })
    const { resourceVersion } = await api.client.list(R.configMaps)
    api.client.watch(R.configMaps, resourceVersion, {
      onEvent: (type, o) => seen.push(`${type} ${o.metadata.name}`),
      onEnd: () => {},
    })
    const key = (name: string) => `/registry/core/configmaps/default/${name}`
    const object = (name: string) => ({ kind: 'ConfigMap', apiVersion: 'v1', metadata: { name, namespace: 'default' } })
    // While the server hears nothing, things change and are compacted away.
    etcd.pause(0)
    await new Promise((resolve) => setTimeout(resolve, 12_000))
    etcd.resume(0)
    await other.create(key('comes'), Buffer.from(JSON.stringify(object('comes'))))
    await other.delete(key('goes'))
    await other.consistent()
    await other.compact(other.revision)
    await until('the difference', () => seen.length >= 2)
    assert.deepEqual(seen.sort(), ['ADDED comes', 'DELETED goes'])
    assert.equal((await call(api, 'GET', `${MAPS}/goes`)).status, 404)
    assert.equal((await call(api, 'GET', `${MAPS}/comes`)).status, 200)
  } finally {
    await api[Symbol.asyncDispose]()
    await store.close()
    await other.close()
  }
})

test('an address or a node port is one Service’s, whichever of two API servers hands it out', async () => {
  // Each server looked only at the Services it had seen stored: those on their way at the other were not.
  await using etcd = await startEtcd({ members: 1 })
  const stores = [await openEtcdStore(etcd.target), await openEtcdStore(etcd.target)]
  const [a, b] = [await startApi({ store: stores[0]! }), await startApi({ store: stores[1]! })]
  const services = '/api/v1/namespaces/default/services'
  // What is asked for by name here is in the parts of both ranges that are not handed out by themselves.
  const service = (name: string, spec: object = {}) => ({
    metadata: { name },
    spec: { type: 'NodePort', ports: [{ port: 80 }], ...spec },
  })
  try {
    // The same address and the same port at both at once: one gets each.
    for (let i = 1; i <= 10; i++) {
      const clusterIP = `10.96.0.${100 + i}`
      const ip = await Promise.all(
        [a, b, a, b].map((api, j) => call(api, 'POST', services, service(`ip-${i}-${j}`, { clusterIP }))),
      )
      assert.deepEqual(ip.map((r) => r.status).sort(), [201, 422, 422, 422])
      assert.match(ip.find((r) => r.status === 422)!.body.message, /provided IP is already allocated/)
      const ports = [{ port: 80, nodePort: 30000 + i }]
      const port = await Promise.all(
        [a, b, a, b].map((api, j) => call(api, 'POST', services, service(`port-${i}-${j}`, { ports }))),
      )
      assert.deepEqual(port.map((r) => r.status).sort(), [201, 422, 422, 422])
      assert.match(port.find((r) => r.status === 422)!.body.message, /provided port is already allocated/)
    }

    // Of 300 made at both at once each has its own.
    const made = await Promise.all(
      Array.from({ length: 300 }, (_, i) => call(i % 2 ? a : b, 'POST', services, service(`many-${i}`))),
    )
    assert.ok(made.every((r) => r.status === 201))
    assert.ok(made.every((r) => r.body.spec.ports[0].nodePort > 30085))
    const all = (await call(a, 'GET', services)).body.items as Json[]
    const distinct = (of: (s: Json) => unknown) => new Set(all.map(of)).size
    assert.equal(
      distinct((s) => s.spec.clusterIP),
      all.length,
    )
    assert.equal(
      distinct((s) => s.spec.ports[0].nodePort),
      all.length,
    )

    // What a refused write took, and what a Service had that is gone, is free again at once.
    const wanted = service('again', { clusterIP: '10.96.0.200', ports: [{ port: 80, nodePort: 30050 }] })
    const bad = { ...wanted, metadata: { name: 'again', labels: { 'not valid': 'x' } } }
    for (const api of [a, b]) {
      assert.equal((await call(api, 'POST', services, bad)).status, 422)
      const other = api === a ? b : a
      assert.equal((await call(other, 'POST', services, wanted)).status, 201)
      assert.equal((await call(api, 'DELETE', `${services}/again`)).status, 200)
    }
  } finally {
    await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()])
    await Promise.all(stores.map((store) => store.close()))
  }
})
