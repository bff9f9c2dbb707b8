// parametersRef: patches of what a Gateway is given, by a ConfigMap of its class and one of its own.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Json, KubeObject } from '#api'
import { DEFAULT_MESH } from '../model/mesh-config.ts'
import { deploymentOf } from './deployment.ts'
import { PARAMETERS, parametersOf } from './parameters.ts'

const object = (kind: string, name: string, rest: Json): KubeObject => ({
  apiVersion: 'v1',
  kind,
  metadata: { name, namespace: 'default', uid: name, resourceVersion: '1', creationTimestamp: '' },
  ...rest,
})
const ref = (name: string, more: Json = {}) => ({ group: '', kind: 'ConfigMap', name, ...more })
const gateway = (parametersRef?: Json) =>
  object('Gateway', 'gw', { spec: { gatewayClassName: 'istio', infrastructure: { parametersRef } } })
const maps: Record<string, Json> = {
  'infra/class': { deployment: 'spec: {replicas: 2, minReadySeconds: 3}', service: 'metadata: {annotations: {a: b}}' },
  'default/own': {
    deployment:
      'metadata: {name: other, labels: {team: x}}\nspec: {replicas: 5, template: {spec: {containers: [{name: istio-proxy, resources: {limits: {cpu: "1"}}}]}}}',
    horizontalPodAutoscaler: 'spec: {minReplicas: 2, maxReplicas: 4}',
  },
  'default/odd': { deployment: '- a list' },
}
const find = (namespace: string, name: string) => {
  const data = maps[`${namespace}/${name}`]
  return data && object('ConfigMap', name, { data })
}
const gatewayClass = object('GatewayClass', 'istio', { spec: { parametersRef: ref('class', { namespace: 'infra' }) } })
const made = (g: KubeObject, c?: KubeObject) =>
  Object.fromEntries(
    deploymentOf(g, [], { proxyImage: 'p', mesh: DEFAULT_MESH }, parametersOf(g, c, find)).map((w) => [
      w.resource.kind,
      w.object as Json,
    ]),
  )

test('patches of the class come first, the Gateway’s own go over them, and what is not spoken of stays', () => {
  const {
    Deployment = {},
    Service = {},
    HorizontalPodAutoscaler = {},
    PodDisruptionBudget,
  } = made(gateway(ref('own')), gatewayClass)
  assert.equal(Deployment.metadata.name, 'gw-istio')
  assert.equal(Deployment.metadata.labels.team, 'x')
  assert.deepEqual([Deployment.spec.replicas, Deployment.spec.minReadySeconds], [5, 3])
  const [proxy, ...others] = Deployment.spec.template.spec.containers
  assert.equal(others.length, 0)
  assert.deepEqual([proxy.image, proxy.resources.limits.cpu], ['p', '1'])
  assert.equal(Service.metadata.annotations.a, 'b')
  assert.equal(HorizontalPodAutoscaler.spec.scaleTargetRef.name, 'gw-istio')
  assert.equal(HorizontalPodAutoscaler.spec.maxReplicas, 4)
  assert.equal(PodDisruptionBudget, undefined)
  // Other patches have another mark; without any there is none.
  const alone = made(gateway(ref('own')))
  assert.notEqual(alone.Deployment?.metadata.annotations[PARAMETERS], Deployment.metadata.annotations[PARAMETERS])
  assert.equal(made(gateway()).Deployment?.metadata.annotations, undefined)
})

test('a reference that cannot be followed says why', () => {
  const problem = (parametersRef: Json) => parametersOf(gateway(parametersRef), undefined, find).problem
  assert.equal(problem(ref('own')), undefined)
  assert.equal(problem(ref('none')), 'parametersRef ConfigMap default/none does not exist')
  assert.equal(
    problem({ group: 'a.io', kind: 'B', name: 'c' }),
    'Unsupported parametersRef group/kind a.io/B, only ConfigMap is supported',
  )
  assert.match(problem(ref('odd')) ?? '', /ConfigMap default\/odd, key deployment: not an object/)
})
