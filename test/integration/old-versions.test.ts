// API versions that Kubernetes has dropped, as old tutorials write them.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Json } from '#api'
import { call, startApi } from '#kit'

const template = { metadata: { labels: { app: 'petclinic' } }, spec: { containers: [{ name: 'c', image: 'i:v1' }] } }

test('a ReplicaSet of extensions/v1beta1 without a selector takes the labels of its template', async () => {
  await using api = await startApi()
  const made = await call(api, 'POST', '/apis/extensions/v1beta1/namespaces/default/replicasets', {
    apiVersion: 'extensions/v1beta1',
    kind: 'ReplicaSet',
    metadata: { name: 'petclinic' },
    spec: { replicas: 3, template },
  })
  assert.equal(made.status, 201)
  assert.equal(made.body.apiVersion, 'extensions/v1beta1')
  assert.equal(
    made.headers.warning,
    '299 - "extensions/v1beta1 ReplicaSet is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 ReplicaSet"',
  )
  const today = await call(api, 'GET', '/apis/apps/v1/namespaces/default/replicasets/petclinic')
  assert.equal(today.body.apiVersion, 'apps/v1')
  assert.deepEqual(today.body.spec.selector, { matchLabels: { app: 'petclinic' } })
  assert.deepEqual(today.body.metadata.labels, { app: 'petclinic' })
  const old = await call(api, 'GET', '/apis/extensions/v1beta1/replicasets')
  assert.equal(old.body.items[0].apiVersion, 'extensions/v1beta1')
})

test('an old Ingress is today’s Ingress, both ways and through a patch', async () => {
  await using api = await startApi()
  const path = '/apis/extensions/v1beta1/namespaces/default/ingresses'
  const backend = { serviceName: 'kubia', servicePort: 80 }
  const made = await call(api, 'POST', path, {
    apiVersion: 'extensions/v1beta1',
    kind: 'Ingress',
    metadata: { name: 'kubia' },
    spec: { backend, rules: [{ host: 'kubia.example.com', http: { paths: [{ path: '/', backend }] } }] },
  })
  assert.equal(made.status, 201, JSON.stringify(made.body))
  assert.deepEqual(made.body.spec.backend, backend)
  const today = async (): Promise<Json> =>
    (await call(api, 'GET', '/apis/networking.k8s.io/v1/namespaces/default/ingresses/kubia')).body
  assert.deepEqual((await today()).spec.rules[0].http.paths[0], {
    path: '/',
    pathType: 'ImplementationSpecific',
    backend: { service: { name: 'kubia', port: { number: 80 } } },
  })
  const patch = { spec: { backend: { serviceName: 'other', servicePort: 'http' } } }
  const patched = await call(api, 'PATCH', `${path}/kubia`, patch, { type: 'application/merge-patch+json' })
  assert.equal(patched.body.spec.backend.serviceName, 'other')
  assert.deepEqual((await today()).spec.defaultBackend, { service: { name: 'other', port: { name: 'http' } } })
  const bad = await call(api, 'POST', `${path}?fieldValidation=Strict`, {
    metadata: { name: 'bad' },
    spec: { rules: [{ http: { paths: [{ backend: { serviceNames: 'x' } }] } }] },
  })
  assert.match(bad.body.message, /unknown field "spec.rules\[0\].http.paths\[0\].backend.serviceNames"/)
})

test('an event of events.k8s.io and of the core group is one event', async () => {
  await using api = await startApi()
  const made = await call(api, 'POST', '/apis/events.k8s.io/v1/namespaces/default/events', {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: 'e' },
    eventTime: '2026-01-01T00:00:00.000000Z',
    reason: 'Tested',
    action: 'Test',
    note: 'it works',
    type: 'Normal',
    reportingController: 'test',
    reportingInstance: 'test-1',
    regarding: { kind: 'Pod', name: 'p', namespace: 'default' },
  })
  assert.equal(made.status, 201, JSON.stringify(made.body))
  const core = await call(api, 'GET', '/api/v1/namespaces/default/events/e')
  assert.equal(core.body.message, 'it works')
  assert.equal(core.body.involvedObject.name, 'p')
})

test('a HorizontalPodAutoscaler of v1 keeps the metrics v1 does not know', async () => {
  await using api = await startApi()
  const memory = {
    type: 'Resource',
    resource: { name: 'memory', target: { type: 'Utilization', averageUtilization: 70 } },
  }
  const cpu = { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } }
  const scaleTargetRef = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' }
  await call(api, 'POST', '/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers', {
    metadata: { name: 'h' },
    spec: { scaleTargetRef, maxReplicas: 5, metrics: [cpu, memory] },
  })
  const path = '/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/h'
  const old = await call(api, 'GET', path)
  assert.equal(old.body.spec.targetCPUUtilizationPercentage, 50)
  await call(api, 'PUT', path, { ...old.body, spec: { ...old.body.spec, targetCPUUtilizationPercentage: 80 } })
  const { body } = await call(api, 'GET', '/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/h')
  assert.deepEqual(
    body.spec.metrics.map((m: Json) => [m.resource.name, m.resource.target.averageUtilization]),
    [
      ['cpu', 80],
      ['memory', 70],
    ],
  )
})

// kubectl 1.20 refused the tutorial's ReplicaSet: its schema was that of apps/v1, which requires a selector.
test('the published schemas of the oldest workloads do not require a selector', async () => {
  await using api = await startApi()
  const { definitions } = (await call(api, 'GET', '/openapi/v2')).body
  const required = (name: string) => definitions[`io.k8s.api.${name}`].required ?? []
  assert.deepEqual(required('apps.v1.DeploymentSpec'), ['selector', 'template'])
  for (const name of [
    'extensions.v1beta1.DeploymentSpec',
    'extensions.v1beta1.DaemonSetSpec',
    'apps.v1beta1.DeploymentSpec',
  ])
    assert.deepEqual(required(name), ['template'], name)
  assert.deepEqual(required('extensions.v1beta1.ReplicaSetSpec'), [])
  const kinds = definitions['io.k8s.api.extensions.v1beta1.ReplicaSet']['x-kubernetes-group-version-kind']
  assert.deepEqual(kinds, [{ group: 'extensions', version: 'v1beta1', kind: 'ReplicaSet' }])
})
