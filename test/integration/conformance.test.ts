// Steps of upstream's conformance tests that were wrong here once, over the wire.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Json } from '#api'
import { call, startApi, type TestApi } from '#kit'

const MAPS = '/api/v1/namespaces/default/configmaps'
const merge = { type: 'application/merge-patch+json' }
const apply = { type: 'application/apply-patch+yaml' }

async function map(api: TestApi, name: string, owners: Json[] = []): Promise<Json> {
  const made = await call(api, 'POST', MAPS, { metadata: { name, ownerReferences: owners } })
  assert.equal(made.status, 201, JSON.stringify(made.body))
  return made.body
}
const ref = (o: Json): Json => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  name: o.metadata.name,
  uid: o.metadata.uid,
  blockOwnerDeletion: true,
})
const status = async (api: TestApi, path: string) => (await call(api, 'GET', path)).status

test('garbage: a dependent with an owner that stays is not deleted with the one that goes', async () => {
  await using api = await startApi({ controllers: true })
  const [a, b] = [await map(api, 'a'), await map(api, 'b')]
  await map(api, 'c', [ref(a), ref(b)])
  await api.clock.advance(1000)
  await call(api, 'DELETE', `${MAPS}/a`, { propagationPolicy: 'Foreground' })
  await api.clock.advance(5000)
  assert.equal(await status(api, `${MAPS}/a`), 404)
  const left = (await call(api, 'GET', `${MAPS}/c`)).body
  assert.deepEqual(
    left.metadata.ownerReferences.map((o: Json) => o.name),
    ['b'],
  )
})

test('garbage: a circle of owners does not wait for itself', async () => {
  await using api = await startApi({ controllers: true })
  const objects = [await map(api, 'p1'), await map(api, 'p2'), await map(api, 'p3')]
  for (const [i, owner] of [
    [0, 2],
    [1, 0],
    [2, 1],
  ] as const)
    await call(api, 'PATCH', `${MAPS}/p${i + 1}`, { metadata: { ownerReferences: [ref(objects[owner]!)] } }, merge)
  await api.clock.advance(1000)
  await call(api, 'DELETE', `${MAPS}/p1`, { propagationPolicy: 'Foreground' })
  await api.clock.advance(10_000)
  for (const n of [1, 2, 3]) assert.equal(await status(api, `${MAPS}/p${n}`), 404, `p${n}`)
})

test('an apply of a field that is not declared is refused whatever the validation', async () => {
  await using api = await startApi()
  const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'm' }, unknownField: 1 }
  for (const level of ['Strict', 'Warn', 'Ignore']) {
    const answer = await call(api, 'PATCH', `${MAPS}/m?fieldManager=m&fieldValidation=${level}`, body, apply)
    assert.equal(answer.status, 400)
    assert.match(
      answer.body.message,
      /failed to create typed patch object .*: \.unknownField: field not declared in schema/,
    )
  }
})

test('events of events.k8s.io are selected by their own fields', async () => {
  await using api = await startApi()
  const events = '/apis/events.k8s.io/v1/namespaces/default/events'
  for (const name of ['a', 'b'])
    await call(api, 'POST', events, {
      metadata: { name },
      regarding: { kind: 'Pod', namespace: 'default', name },
      reason: 'R',
      type: 'Normal',
      action: 'A',
      reportingController: `controller-${name}`,
      reportingInstance: 'i',
      eventTime: '2026-01-01T00:00:00.000000Z',
    })
  const names = async (selector: string) =>
    (await call(api, 'GET', `${events}?fieldSelector=${selector}`)).body.items.map((e: Json) => e.metadata.name)
  assert.deepEqual(await names('reportingController=controller-a'), ['a'])
  assert.deepEqual(await names('regarding.name=b,regarding.namespace=default'), ['b'])
})

test('what has no metadata is not a Table', async () => {
  await using api = await startApi()
  const review = { spec: { resourceAttributes: { verb: 'get', resource: 'pods' } } }
  const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'
  const table = await call(api, 'POST', path, review, { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' })
  assert.equal(table.status, 406)
  const empty = await call(api, 'POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', { spec: {} })
  assert.equal(empty.status, 422)
})

test('a page’s token expires with time, and goes on inconsistently', async () => {
  await using api = await startApi()
  for (const name of ['a', 'b', 'c']) await map(api, name)
  const page = (await call(api, 'GET', `${MAPS}?limit=1`)).body
  for (let i = 0; i < 3; i++) {
    await map(api, `later-${i}`)
    await api.clock.advance(300_000)
  }
  const token = (body: Json) => encodeURIComponent(body.metadata.continue)
  const expired = await call(api, 'GET', `${MAPS}?limit=1&continue=${token(page)}`)
  assert.equal(expired.status, 410)
  assert.equal(expired.body.reason, 'Expired')
  const next = await call(api, 'GET', `${MAPS}?limit=1&continue=${token(expired.body)}`)
  assert.deepEqual(
    next.body.items.map((o: Json) => o.metadata.name),
    ['b'],
  )
})

test('what leaves a selection is shown as it last was in it', async () => {
  await using api = await startApi()
  const made = await call(api, 'POST', MAPS, { metadata: { name: 'w', labels: { l: 'a' } }, data: { m: '1' } })
  const since = made.body.metadata.resourceVersion
  const watching = call(api, 'GET', `${MAPS}?watch=1&labelSelector=l=a&resourceVersion=${since}&timeoutSeconds=1`)
  await call(api, 'PATCH', `${MAPS}/w`, { metadata: { labels: { l: 'z' } }, data: { m: '2' } }, merge)
  await api.clock.advance(2000)
  const event = (await watching).body
  assert.equal(event.type, 'DELETED')
  assert.deepEqual([event.object.metadata.labels, event.object.data], [{ l: 'a' }, { m: '1' }])
  assert.ok(Number(event.object.metadata.resourceVersion) > Number(since))
})

test('odd options of a delete delete nothing', async () => {
  await using api = await startApi()
  await map(api, 'kept')
  for (const query of ['propagationPolicy=Foo', 'propagationPolicy=Orphan&orphanDependents=true'])
    assert.equal((await call(api, 'DELETE', `${MAPS}/kept?${query}`)).status, 422, query)
  assert.equal(await status(api, `${MAPS}/kept`), 200)
})

test('a status decides nothing about a certificate, and a spec stays as it was asked for', async () => {
  await using api = await startApi()
  const csrs = '/apis/certificates.k8s.io/v1/certificatesigningrequests'
  const request = Buffer.from('-----BEGIN CERTIFICATE REQUEST-----\n').toString('base64')
  await call(api, 'POST', csrs, {
    metadata: { name: 'c' },
    spec: { request, signerName: 'example.com/s', usages: ['client auth'] },
  })
  const conditions = [{ type: 'Approved', status: 'True' }]
  await call(api, 'PATCH', `${csrs}/c/status`, { status: { conditions, certificate: 'AA==' } }, merge)
  const now = await call(
    api,
    'PATCH',
    `${csrs}/c`,
    { metadata: { annotations: { a: 'b' } }, spec: { signerName: 'example.com/other' } },
    merge,
  )
  assert.equal(now.status, 200)
  assert.deepEqual(
    [now.body.status.conditions, now.body.spec.signerName, now.body.metadata.annotations],
    [undefined, 'example.com/s', { a: 'b' }],
  )
  await call(api, 'PATCH', `${csrs}/c/approval`, { status: { conditions } }, merge)
  const taken = await call(api, 'PATCH', `${csrs}/c/approval`, { status: { conditions: [] } }, merge)
  assert.match(taken.body.message, /may not remove a condition of type "Approved"/)
})

test('a PUT creates leases and their like, and needs a name', async () => {
  await using api = await startApi()
  const lease = '/apis/coordination.k8s.io/v1/namespaces/default/leases/l'
  assert.equal((await call(api, 'PUT', lease, { metadata: { name: 'l' }, spec: { holderIdentity: 'a' } })).status, 201)
  assert.equal((await call(api, 'PUT', lease, { metadata: { name: 'l' }, spec: { holderIdentity: 'b' } })).status, 200)
  assert.equal((await call(api, 'PUT', `${MAPS}/new`, { metadata: { name: 'new' } })).status, 404)
  assert.equal((await call(api, 'PUT', `${MAPS}/new`, { metadata: {} })).status, 400)
})

test('nodes register with their status, namespaces keep their finalizers, service-account tokens have a public key', async () => {
  await using api = await startApi()
  const node = await call(api, 'POST', '/api/v1/nodes', { metadata: { name: 'n' }, status: { capacity: { cpu: '1' } } })
  assert.deepEqual(node.body.status.capacity, { cpu: '1' })
  const path = '/api/v1/namespaces/default'
  const namespace = (await call(api, 'GET', path)).body
  namespace.spec.finalizers.push('e2e.example.com/fake')
  assert.deepEqual((await call(api, 'PUT', path, namespace)).body.spec.finalizers, ['kubernetes'])
  const about = (await call(api, 'GET', '/.well-known/openid-configuration')).body
  assert.match(about.jwks_uri, /\/openid\/v1\/jwks$/)
  const { keys } = (await call(api, 'GET', '/openid/v1/jwks')).body
  assert.deepEqual([keys[0].kty, keys[0].alg, keys[0].d], ['EC', 'ES256', undefined])
  const short = await call(api, 'POST', '/api/v1/namespaces/default/serviceaccounts/default/token', {
    spec: { expirationSeconds: 10 },
  })
  assert.match(short.body.message, /may not specify a duration less than 10 minutes/)
})

test('a namespace goes in order, pods first, and says what is left', async () => {
  await using api = await startApi({ controllers: true })
  await call(api, 'POST', '/api/v1/namespaces', { metadata: { name: 'n' } })
  await api.clock.advance(1000)
  const at = '/api/v1/namespaces/n'
  const finalizers = ['example.com/hold']
  await call(api, 'POST', `${at}/pods`, {
    metadata: { name: 'p', finalizers },
    spec: { containers: [{ name: 'c', image: 'i' }] },
  })
  await call(api, 'POST', `${at}/configmaps`, { metadata: { name: 'm' } })
  await call(api, 'DELETE', at)
  await api.clock.advance(2000)
  assert.equal((await call(api, 'GET', `${at}/configmaps/m`)).body.metadata.deletionTimestamp, undefined)
  const { conditions } = (await call(api, 'GET', at)).body.status
  const held = conditions.find((c: Json) => c.type === 'NamespaceFinalizersRemaining')
  assert.equal(
    held.message,
    'Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances',
  )
  await call(api, 'PATCH', `${at}/pods/p`, { metadata: { finalizers: null } }, merge)
  await api.clock.advance(2000)
  assert.equal(await status(api, at), 404)
})
