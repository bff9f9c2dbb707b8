// The API server over HTTPS, as clients see it.

import assert from 'node:assert/strict'
import { request } from 'node:https'
import { test } from 'node:test'
import type { Json } from '#api'
import { type Answer, call, startApi } from '#kit'

const maps = '/api/v1/namespaces/default/configmaps'
const deployments = '/apis/apps/v1/namespaces/default/deployments'
const deployment = (name: string, extra: Json = {}): Json => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c', image: 'i:v1' }] } },
    ...extra,
  },
})

test('nothing but health and version is anonymous', async () => {
  await using api = await startApi()
  assert.equal((await call(api, 'GET', '/healthz', undefined, { anonymous: true })).status, 200)
  assert.equal((await call(api, 'GET', '/version', undefined, { anonymous: true })).status, 200)
  for (const path of ['/api', '/apis', '/openapi/v2', maps, '/api/v1/secrets'])
    assert.equal((await call(api, 'GET', path, undefined, { anonymous: true })).status, 401, path)
})

test('create, conflict, update, delete of an object', async () => {
  await using api = await startApi()
  const made = await call(api, 'POST', maps, { metadata: { name: 'm' }, data: { a: '1' } })
  assert.equal(made.status, 201)
  assert.equal((await call(api, 'POST', maps, { metadata: { name: 'm' } })).body.reason, 'AlreadyExists')
  const stale = { ...made.body, data: { a: '2' } }
  assert.equal((await call(api, 'PUT', `${maps}/m`, stale)).status, 200)
  const conflict = await call(api, 'PUT', `${maps}/m`, { ...stale, data: { a: '3' } })
  assert.equal(conflict.status, 409)
  assert.match(conflict.body.message, /the object has been modified/)
  assert.equal((await call(api, 'DELETE', `${maps}/m`)).body.status, 'Success')
  const gone = await call(api, 'GET', `${maps}/m`)
  assert.equal(gone.body.message, 'configmaps "m" not found')
})

test('bad input is refused with object, field and reason, and nothing is stored', async () => {
  await using api = await startApi()
  const cases: [name: string, answer: Promise<Answer>, status: number, message: RegExp][] = [
    ['malformed JSON', call(api, 'POST', maps, undefined, { raw: '{"a":' }), 400, /couldn't parse/],
    [
      'malformed YAML',
      call(api, 'POST', maps, undefined, { raw: 'a: [', type: 'application/yaml' }),
      400,
      /couldn't parse/,
    ],
    [
      'wrong type',
      call(api, 'POST', deployments, deployment('x', { replicas: 'three' })),
      400,
      /cannot unmarshal string into Go struct field Deployment\.spec\.replicas of type int32/,
    ],
    [
      'unknown kind',
      call(api, 'POST', '/apis/apps/v1/namespaces/default/boats', {}),
      404,
      /could not find the requested resource/,
    ],
    [
      'name too long',
      call(api, 'POST', maps, { metadata: { name: 'x'.repeat(254) } }),
      422,
      /metadata\.name: Invalid value: .*must be no more than 253 bytes/,
    ],
    [
      'body over the limit',
      call(api, 'POST', maps, { metadata: { name: 'big' }, data: { a: 'x'.repeat(4_000_000) } }),
      413,
      /too large/i,
    ],
    [
      'no image',
      call(api, 'POST', '/api/v1/namespaces/default/pods', {
        metadata: { name: 'p' },
        spec: { containers: [{ name: 'c' }] },
      }),
      422,
      /spec\.containers\[0\]\.image: Required value/,
    ],
    [
      'no such namespace',
      call(api, 'POST', '/api/v1/namespaces/nowhere/configmaps', { metadata: { name: 'm' } }),
      404,
      /namespaces "nowhere" not found/,
    ],
    [
      'strict unknown field',
      call(api, 'POST', `${deployments}?fieldValidation=Strict`, deployment('x', { replica: 1 })),
      400,
      /strict decoding error: unknown field "spec\.replica"/,
    ],
  ]
  for (const [name, answer, status, message] of cases) {
    const { status: got, body } = await answer
    assert.equal(got, status, `${name}: ${JSON.stringify(body)}`)
    assert.match(body.message, message, name)
  }
  assert.equal((await call(api, 'GET', maps)).body.items.length, 0)
  assert.equal((await call(api, 'GET', deployments)).body.items.length, 0)
})

test('an unknown field is a warning by default', async () => {
  await using api = await startApi()
  const { status, headers } = await call(api, 'POST', deployments, deployment('x', { replica: 1 }))
  assert.equal(status, 201)
  assert.equal(headers.warning, '299 - "unknown field \\"spec.replica\\""')
})

test('the three patch types', async () => {
  await using api = await startApi()
  await call(api, 'POST', deployments, deployment('d'))
  const strategic = await call(
    api,
    'PATCH',
    `${deployments}/d`,
    { spec: { template: { spec: { containers: [{ name: 'c', env: [{ name: 'A', value: '1' }] }] } } } },
    { type: 'application/strategic-merge-patch+json' },
  )
  assert.equal(strategic.body.spec.template.spec.containers[0].image, 'i:v1')
  const json = await call(api, 'PATCH', `${deployments}/d`, [{ op: 'replace', path: '/spec/replicas', value: 5 }], {
    type: 'application/json-patch+json',
  })
  assert.equal(json.body.spec.replicas, 5)
  const merge = await call(
    api,
    'PATCH',
    `${deployments}/d`,
    { metadata: { labels: { a: 'b' } } },
    { type: 'application/merge-patch+json' },
  )
  assert.deepEqual(merge.body.metadata.labels, { a: 'b' })
  assert.equal(merge.body.metadata.generation, 3)
})

test('a table has the columns of kubectl get', async () => {
  await using api = await startApi()
  await call(api, 'POST', deployments, deployment('d'))
  const { body } = await call(api, 'GET', deployments, undefined, {
    accept: 'application/json;as=Table;v=v1;g=meta.k8s.io',
  })
  assert.deepEqual(
    body.columnDefinitions.map((c: Json) => c.name),
    ['Name', 'Ready', 'Up-to-date', 'Available', 'Age', 'Containers', 'Images', 'Selector'],
  )
  assert.deepEqual(body.rows[0].cells.slice(0, 4), ['d', '0/2', 0, 0])
})

test('lists come in pages and select by label and field', async () => {
  await using api = await startApi()
  for (const i of [1, 2, 3, 4, 5])
    await call(api, 'POST', maps, { metadata: { name: `m${i}`, labels: { odd: String(i % 2) } } })
  const first = await call(api, 'GET', `${maps}?limit=2`)
  assert.equal(first.body.metadata.remainingItemCount, 3)
  const second = await call(api, 'GET', `${maps}?limit=2&continue=${first.body.metadata.continue}`)
  assert.deepEqual(
    second.body.items.map((i: Json) => i.metadata.name),
    ['m3', 'm4'],
  )
  assert.equal((await call(api, 'GET', `${maps}?labelSelector=odd%20in%20(1)`)).body.items.length, 3)
  assert.equal((await call(api, 'GET', `${maps}?fieldSelector=metadata.name=m2`)).body.items.length, 1)
  assert.equal((await call(api, 'GET', `${maps}?fieldSelector=data.a=1`)).status, 400)
})

test('a finalizer holds an object until it is removed', async () => {
  await using api = await startApi()
  await call(api, 'POST', maps, { metadata: { name: 'm', finalizers: ['example.com/hold'] } })
  const marked = await call(api, 'DELETE', `${maps}/m`)
  assert.ok(marked.body.metadata.deletionTimestamp)
  assert.equal((await call(api, 'GET', `${maps}/m`)).status, 200)
  await call(api, 'PATCH', `${maps}/m`, { metadata: { finalizers: null } }, { type: 'application/merge-patch+json' })
  assert.equal((await call(api, 'GET', `${maps}/m`)).status, 404)
})

test('custom resources are served in all their versions, pruned and validated', async () => {
  await using api = await startApi()
  const schema = {
    openAPIV3Schema: {
      type: 'object',
      properties: {
        spec: { type: 'object', required: ['size'], properties: { size: { type: 'integer', minimum: 1 } } },
      },
    },
  }
  await call(api, 'POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
    metadata: { name: 'boats.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { kind: 'Boat', plural: 'boats' },
      versions: [
        { name: 'v1', served: true, storage: true, schema },
        { name: 'v1beta1', served: true, storage: false, schema },
      ],
    },
  })
  const made = await call(api, 'POST', '/apis/example.com/v1/namespaces/default/boats', {
    apiVersion: 'example.com/v1',
    kind: 'Boat',
    metadata: { name: 'b' },
    spec: { size: 3, sail: true },
  })
  assert.equal(made.status, 201)
  assert.deepEqual(made.body.spec, { size: 3 })
  assert.equal(
    (await call(api, 'GET', '/apis/example.com/v1beta1/namespaces/default/boats/b')).body.apiVersion,
    'example.com/v1beta1',
  )
  const bad = await call(api, 'POST', '/apis/example.com/v1/namespaces/default/boats', {
    metadata: { name: 'c' },
    spec: { size: 0 },
  })
  assert.match(
    bad.body.message,
    /spec\.size: Invalid value: 0: spec\.size in body should be greater than or equal to 1/,
  )
})

test('services get addresses and node ports that nobody else has', async () => {
  await using api = await startApi()
  const services = '/api/v1/namespaces/default/services'
  const make = (name: string, spec: Json) =>
    call(api, 'POST', services, { metadata: { name }, spec: { ports: [{ port: 80 }], ...spec } })
  const [a, b] = await Promise.all([make('a', { type: 'NodePort' }), make('b', { type: 'NodePort' })])
  assert.notEqual(a.body.spec.clusterIP, b.body.spec.clusterIP)
  assert.notEqual(a.body.spec.ports[0].nodePort, b.body.spec.ports[0].nodePort)
  const taken = await make('c', { type: 'NodePort', ports: [{ port: 80, nodePort: a.body.spec.ports[0].nodePort }] })
  assert.match(taken.body.message, /spec\.ports\[0\]\.nodePort: Invalid value: \d+: provided port is already allocated/)
})

test('a watch that starts at an old revision gets every change since', async () => {
  await using api = await startApi()
  const { body } = await call(api, 'GET', maps)
  await call(api, 'POST', maps, { metadata: { name: 'm' } })
  await call(api, 'DELETE', `${maps}/m`)
  const types: string[] = []
  await new Promise<void>((resolve, reject) => {
    const r = request(
      {
        host: '127.0.0.1',
        port: api.port,
        path: `${maps}?watch=true&resourceVersion=${body.metadata.resourceVersion}`,
        ca: api.ca.cert,
        cert: api.admin.cert,
        key: api.admin.key,
        agent: false,
      },
      (response) => {
        response.setEncoding('utf8').on('data', (text: string) => {
          for (const line of text.trim().split('\n')) types.push(JSON.parse(line).type)
          if (types.length < 2) return
          r.destroy()
          resolve()
        })
      },
    )
    r.on('error', (e) => (types.length >= 2 ? resolve() : reject(e)))
    r.end()
  })
  assert.deepEqual(types, ['ADDED', 'DELETED'])
})

test('later pages show the state of the first; once that is forgotten the answer says how to go on', async () => {
  await using api = await startApi()
  for (const name of ['a', 'b', 'c']) await call(api, 'POST', maps, { metadata: { name } })
  const first = (await call(api, 'GET', `${maps}?limit=1`)).body
  await call(api, 'POST', maps, { metadata: { name: 'bb' } })
  await call(api, 'DELETE', `${maps}/c`)
  const second = (await call(api, 'GET', `${maps}?limit=2&continue=${first.metadata.continue}`)).body
  const names = (list: Json) => list.items.map((o: Json) => o.metadata.name)
  assert.deepEqual(names(second), ['b', 'c'])
  assert.equal(second.metadata.resourceVersion, first.metadata.resourceVersion)
  // Enough writes for the store to forget the first page.
  for (let i = 0; i < 12_000; i++)
    await api.client.patch(
      { group: '', version: 'v1', plural: 'configmaps', kind: 'ConfigMap', namespaced: true },
      'default',
      'a',
      { data: { i: String(i) } },
    )
  const gone = await call(api, 'GET', `${maps}?limit=2&continue=${first.metadata.continue}`)
  assert.equal(gone.status, 410)
  assert.match(gone.body.message, /too old to display a consistent list result/)
  const rest = (await call(api, 'GET', `${maps}?limit=5&continue=${gone.body.metadata.continue}`)).body
  assert.deepEqual(names(rest), ['b', 'bb'])
})

test('a list at an exact version is the list of that moment', async () => {
  await using api = await startApi()
  await call(api, 'POST', maps, { metadata: { name: 'a' } })
  const before = (await call(api, 'GET', maps)).body.metadata.resourceVersion
  await call(api, 'POST', maps, { metadata: { name: 'b' } })
  const exact = await call(api, 'GET', `${maps}?resourceVersion=${before}&resourceVersionMatch=Exact`)
  assert.deepEqual(
    exact.body.items.map((o: Json) => o.metadata.name),
    ['a'],
  )
  const bad = await call(api, 'GET', `${maps}?resourceVersionMatch=Exact`)
  assert.match(bad.body.message, /resourceVersionMatch is forbidden unless resourceVersion is provided/)
})

test('a patch of the wrong type is refused as a replacement would be', async () => {
  await using api = await startApi()
  await call(api, 'POST', deployments, deployment('web'))
  const patch = { spec: { replicas: 'three' } }
  for (const type of ['application/merge-patch+json', 'application/strategic-merge-patch+json']) {
    const answer = await call(api, 'PATCH', `${deployments}/web`, patch, { type })
    assert.equal(answer.status, 400)
    assert.match(
      answer.body.message,
      /cannot unmarshal string into Go struct field Deployment.spec.replicas of type int32/,
    )
  }
  const odd = await call(
    api,
    'PATCH',
    `${deployments}/web`,
    { spec: { replica: 3 } },
    { type: 'application/merge-patch+json' },
  )
  assert.equal(odd.headers.warning, '299 - "unknown field \\"spec.replica\\""')
})

test('the objects of a CustomResourceDefinition go with it', async () => {
  await using api = await startApi({ controllers: true })
  const crds = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
  const things = '/apis/example.com/v1/namespaces/default/things'
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } }
  const definition = {
    metadata: { name: 'things.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'things', kind: 'Thing' },
      versions: [{ name: 'v1', served: true, storage: true, schema }],
    },
  }
  await call(api, 'POST', crds, definition)
  await api.clock.advance(1000)
  assert.equal((await call(api, 'POST', things, { metadata: { name: 't' } })).status, 201)
  await call(api, 'DELETE', `${crds}/things.example.com`)
  await api.clock.advance(5000)
  assert.equal((await call(api, 'GET', `${crds}/things.example.com`)).status, 404)
  await call(api, 'POST', crds, definition)
  await api.clock.advance(1000)
  assert.deepEqual((await call(api, 'GET', things)).body.items, [])
})

// A patch of the type alone was refused: what defaults had filled in for the old type stood in its way.
test('a Service of another type loses what only its old type had', async () => {
  await using api = await startApi()
  const services = '/api/v1/namespaces/default/services'
  const made = await call(api, 'POST', services, {
    metadata: { name: 's' },
    spec: { type: 'LoadBalancer', ports: [{ port: 80 }] },
  })
  assert.equal(made.body.spec.externalTrafficPolicy, 'Cluster')
  const patched = await call(
    api,
    'PATCH',
    `${services}/s`,
    { spec: { type: 'ClusterIP' } },
    { type: 'application/merge-patch+json' },
  )
  assert.equal(patched.status, 200, patched.body.message)
  const { externalTrafficPolicy, allocateLoadBalancerNodePorts, ports, clusterIP } = patched.body.spec
  assert.deepEqual(
    [externalTrafficPolicy, allocateLoadBalancerNodePorts, ports[0].nodePort],
    [undefined, undefined, undefined],
  )
  assert.equal(clusterIP, made.body.spec.clusterIP)
})
