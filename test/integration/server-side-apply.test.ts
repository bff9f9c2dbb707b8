// Server-side apply: who owns which field, conflicts, and what goes with its last owner.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Json } from '#api'
import { type Answer, call, startApi, type TestApi } from '#kit'

const PATH = '/apis/apps/v1/namespaces/default/deployments/web'
const config = (spec: Json, metadata: Json = {}): Json => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', ...metadata },
  spec: {
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image: 'i:v1' }] } },
    ...spec,
  },
})
const apply = (api: TestApi, manager: string, body: Json, query = '', path = PATH): Promise<Answer> =>
  call(api, 'PATCH', `${path}?fieldManager=${manager}${query}`, body, { type: 'application/apply-patch+yaml' })
const owner = (object: Json, manager: string): Json =>
  (object.metadata.managedFields ?? []).find((m: Json) => m.manager === manager)

test('an apply creates what is not there, and owns exactly what it says', async () => {
  await using api = await startApi()
  const made = await apply(api, 'alice', config({ replicas: 2 }))
  assert.equal(made.status, 201, JSON.stringify(made.body))
  const mine = owner(made.body, 'alice')
  assert.equal(mine.operation, 'Apply')
  assert.equal(mine.apiVersion, 'apps/v1')
  assert.deepEqual(mine.fieldsV1['f:spec'], {
    'f:replicas': {},
    'f:selector': {},
    'f:template': {
      'f:metadata': { 'f:labels': { 'f:app': {} } },
      'f:spec': { 'f:containers': { 'k:{"name":"c"}': { '.': {}, 'f:image': {}, 'f:name': {} } } },
    },
  })
  assert.equal(made.body.spec.revisionHistoryLimit, 10, 'defaults are filled in and owned by nobody')
})

test('the same apply again changes nothing', async () => {
  await using api = await startApi()
  const first = await apply(api, 'alice', config({ replicas: 2 }))
  await api.clock.advance(60_000)
  const again = await apply(api, 'alice', config({ replicas: 2 }))
  assert.equal(again.status, 200)
  assert.equal(again.body.metadata.resourceVersion, first.body.metadata.resourceVersion)
})

test('another manager’s field is a conflict with its cause; forced, it changes hands', async () => {
  await using api = await startApi()
  await apply(api, 'alice', config({ replicas: 2 }))
  const refused = await apply(api, 'bob', { apiVersion: 'apps/v1', kind: 'Deployment', spec: { replicas: 5 } })
  assert.equal(refused.status, 409)
  assert.equal(
    refused.body.message,
    'Apply failed with 1 conflict: conflict with "alice" using apps/v1: .spec.replicas',
  )
  assert.deepEqual(refused.body.details.causes, [
    { reason: 'FieldManagerConflict', message: 'conflict with "alice" using apps/v1', field: '.spec.replicas' },
  ])
  const forced = await apply(
    api,
    'bob',
    { apiVersion: 'apps/v1', kind: 'Deployment', spec: { replicas: 5 } },
    '&force=true',
  )
  assert.equal(forced.body.spec.replicas, 5)
  assert.equal(owner(forced.body, 'alice').fieldsV1['f:spec']['f:replicas'], undefined)
  assert.deepEqual(owner(forced.body, 'bob').fieldsV1, { 'f:spec': { 'f:replicas': {} } })
  const shared = await apply(api, 'carol', { apiVersion: 'apps/v1', kind: 'Deployment', spec: { replicas: 5 } })
  assert.equal(shared.status, 200, 'the same value is shared, not contested')
})

test('a field goes with its last owner, and stays while another owns it', async () => {
  await using api = await startApi()
  const labelled = (labels: Json) => config({}, { labels })
  await apply(api, 'alice', labelled({ a: '1', b: '1' }))
  await apply(api, 'bob', { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { labels: { b: '1' } } })
  const less = await apply(api, 'alice', labelled({}))
  assert.deepEqual(less.body.metadata.labels, { b: '1' })
  const none = await apply(api, 'bob', { apiVersion: 'apps/v1', kind: 'Deployment', metadata: {} })
  assert.equal(none.body.metadata.labels, undefined)
})

test('keyed lists merge by their keys: a sidecar of one manager lives beside the container of another', async () => {
  await using api = await startApi()
  const containers = (...list: Json[]): Json => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    spec: { template: { spec: { containers: list } } },
  })
  await apply(api, 'alice', config({}))
  const two = await apply(
    api,
    'mesh',
    containers({
      name: 'proxy',
      image: 'p:v1',
      ports: [{ containerPort: 80 }, { containerPort: 80, protocol: 'UDP' }],
    }),
  )
  assert.deepEqual(
    two.body.spec.template.spec.containers.map((c: Json) => c.name),
    ['c', 'proxy'],
  )
  assert.equal(two.body.spec.template.spec.containers[1].ports.length, 2, 'ports differ by protocol too')
  const one = await apply(api, 'mesh', containers())
  assert.deepEqual(
    one.body.spec.template.spec.containers.map((c: Json) => c.name),
    ['c'],
  )
})

test('an update takes what it changes, and an apply meets it with its time', async () => {
  await using api = await startApi()
  await apply(api, 'alice', config({ replicas: 2 }))
  const patch = { spec: { replicas: 7 } }
  const scaled = await call(api, 'PATCH', `${PATH}?fieldManager=kubectl-edit`, patch, {
    type: 'application/merge-patch+json',
  })
  assert.deepEqual(owner(scaled.body, 'kubectl-edit').fieldsV1, { 'f:spec': { 'f:replicas': {} } })
  assert.equal(owner(scaled.body, 'kubectl-edit').operation, 'Update')
  const refused = await apply(api, 'alice', config({ replicas: 2 }))
  assert.equal(refused.status, 409)
  assert.match(refused.body.message, /conflict with "kubectl-edit" using apps\/v1 at \d{4}-\S+Z: \.spec\.replicas$/)
})

test('an apply without a manager, or with owners in it, is refused', async () => {
  await using api = await startApi()
  const nobody = await call(api, 'PATCH', PATH, config({}), { type: 'application/apply-patch+yaml' })
  assert.match(nobody.body.message, /fieldManager: Required value: is required for apply patch/)
  const owners = await apply(api, 'a', config({}, { managedFields: [{}] }))
  assert.equal(owners.body.message, 'metadata.managedFields must be nil')
  const dry = await apply(api, 'a', config({}), '&dryRun=All')
  assert.equal(dry.status, 201)
  assert.equal((await call(api, 'GET', PATH)).status, 404)
})

test('custom resources are owned by the structure their schema declares', async () => {
  await using api = await startApi({ controllers: true })
  const item = { type: 'object', properties: { key: { type: 'string' }, value: { type: 'string' } }, required: ['key'] }
  const spec = {
    type: 'object',
    properties: {
      entries: { type: 'array', 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['key'], items: item },
      plain: { type: 'array', items: { type: 'string' } },
    },
  }
  await call(api, 'POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
    metadata: { name: 'things.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'things', kind: 'Thing' },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: 'object', properties: { spec } } },
        },
      ],
    },
  })
  await api.clock.advance(1000)
  const path = '/apis/example.com/v1/namespaces/default/things/t'
  const thing = (s: Json): Json => ({ apiVersion: 'example.com/v1', kind: 'Thing', spec: s })
  await apply(api, 'a', thing({ entries: [{ key: 'x', value: '1' }], plain: ['p'] }), '', path)
  const both = await apply(api, 'b', thing({ entries: [{ key: 'y', value: '2' }] }), '', path)
  assert.equal(both.body.spec.entries.length, 2, JSON.stringify(both.body))
  assert.equal((await apply(api, 'b', thing({ plain: ['q'] }), '', path)).status, 409)
})

// kubectl apply, then kubectl apply --server-side: kubectl turns its own record into an apply's, which owns
// the containers of fields too ("."); giving those up took the fields of the new apply with them.
test('a field is not given up while anything within it is owned', async () => {
  await using api = await startApi()
  const path = '/apis/apps/v1/namespaces/default/deployments/d'
  const labels = { app: 'd' }
  const config: Json = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'd', labels },
    spec: {
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    },
  }
  const made = await call(api, 'POST', '/apis/apps/v1/namespaces/default/deployments?fieldManager=k', config)
  const owners = made.body.metadata.managedFields.map((m: Json) => ({ ...m, manager: 'kubectl', operation: 'Apply' }))
  const patch = [{ op: 'replace', path: '/metadata/managedFields', value: owners }]
  const moved = await call(api, 'PATCH', path, patch, { type: 'application/json-patch+json' })
  assert.equal(moved.status, 200, JSON.stringify(moved.body))
  const again = await apply(api, 'kubectl', config, '', path)
  assert.equal(again.status, 200, JSON.stringify(again.body))
  assert.deepEqual(again.body.spec.template.metadata.labels, labels)
  assert.equal(again.body.metadata.managedFields.length, 1)
})

test('owners of fields in an older version: what it cannot say is kept, what it changes is contested', async () => {
  await using api = await startApi()
  const path = (version: string) => `/apis/autoscaling/${version}/namespaces/default/horizontalpodautoscalers/h`
  const target = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' }
  const kind = 'HorizontalPodAutoscaler'
  const cpu = (averageUtilization: number) => ({
    type: 'Resource',
    resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization } },
  })
  const memory = {
    type: 'Resource',
    resource: { name: 'memory', target: { type: 'AverageValue', averageValue: '1Gi' } },
  }
  const v2 = {
    apiVersion: 'autoscaling/v2',
    kind,
    spec: { scaleTargetRef: target, maxReplicas: 3, metrics: [cpu(50), memory] },
  }
  const apply = (version: string, manager: string, body: Json, more = '') =>
    call(api, 'PATCH', `${path(version)}?fieldManager=${manager}${more}`, body, {
      type: 'application/apply-patch+yaml',
    })
  assert.equal((await apply('v2', 'new', v2)).status, 201)

  const v1 = { apiVersion: 'autoscaling/v1', kind, spec: { scaleTargetRef: target, maxReplicas: 3, minReplicas: 2 } }
  const joined = await apply('v1', 'old', v1)
  assert.equal(joined.status, 200, JSON.stringify(joined.body))
  const owners = (o: Json) => o.metadata.managedFields.map((e: Json) => [e.manager, e.apiVersion])
  assert.deepEqual(owners(joined.body), [
    ['new', 'autoscaling/v2'],
    ['old', 'autoscaling/v1'],
  ])
  const now = (await call(api, 'GET', path('v2'))).body
  assert.deepEqual(now.spec.metrics, [cpu(50), memory])
  assert.equal(now.spec.minReplicas, 2)
  assert.ok(now.metadata.managedFields[0].fieldsV1['f:spec']['f:metrics'], 'the newer version still owns its metrics')

  const contested = { ...v1, spec: { ...v1.spec, targetCPUUtilizationPercentage: 80 } }
  const refused = await apply('v1', 'old', contested)
  assert.equal(refused.status, 409)
  assert.match(refused.body.message, /conflict with "new" using autoscaling\/v2: \.spec\.metrics/)
  const forced = await apply('v1', 'old', contested, '&force=true')
  assert.equal(forced.status, 200)
  assert.equal(forced.body.spec.targetCPUUtilizationPercentage, 80)
  assert.ok(!forced.body.metadata.managedFields.find((e: Json) => e.manager === 'new').fieldsV1['f:spec']['f:metrics'])
})
