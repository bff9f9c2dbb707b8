// Deployments under virtual time: rollouts, history, rollback, garbage collection.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Json, type KubeObject, resources as R } from '#api'
import { rfc3339, settle } from '#base'
import { readyPod, startApi, type TestApi } from '#kit'

/** Plays the node: every new pod becomes ready, every pod that is to go, goes. */
function playNode(api: TestApi, never: (pod: KubeObject) => boolean = () => false): void {
  let ip = 1
  api.informers.for(R.pods).on(({ type, object }) => {
    if (type === 'deleted') return
    if (object.metadata.deletionTimestamp)
      void api.client.delete(R.pods, 'default', object.metadata.name, { gracePeriodSeconds: 0 }).catch(() => {})
    else if (object.status?.phase === 'Pending' && !never(object)) {
      const { status } = readyPod(object, `10.0.0.${ip++}`, rfc3339(api.clock.now()))
      void api.client.patch(R.pods, 'default', object.metadata.name, { status }, 'merge', 'status').catch(() => {})
    }
  })
}

const web = (image: string, replicas = 3): Json => ({
  metadata: { name: 'web', namespace: 'default' },
  spec: {
    replicas,
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image }] } },
  },
})

const get = (api: TestApi) => api.client.get(R.deployments, 'default', 'web')
const pods = async (api: TestApi) => (await api.client.list(R.pods, { namespace: 'default' })).items
const idle = async (api: TestApi) => {
  for (let i = 0; i < 40; i++) await api.clock.advance(50)
}

test('a rollout replaces every pod and never has fewer than the minimum', async () => {
  await using api = await startApi({ controllers: true })
  await settle()
  playNode(api)
  await api.client.create(R.deployments, web('i:v1') as never)
  await idle(api)
  assert.equal((await get(api)).status.availableReplicas, 3)
  let fewest = 99
  api.informers.for(R.pods).on(() => {
    const ready = api.informers
      .for(R.pods)
      .list('default')
      .filter(
        (p) =>
          !p.metadata.deletionTimestamp &&
          p.status?.conditions?.some((c: Json) => c.type === 'Ready' && c.status === 'True'),
      )
    fewest = Math.min(fewest, ready.length)
  })
  await api.client.patch(
    R.deployments,
    'default',
    'web',
    { spec: { template: { spec: { containers: [{ name: 'c', image: 'i:v2' }] } } } },
    'strategic',
  )
  await idle(api)
  assert.deepEqual(new Set((await pods(api)).map((p) => p.spec.containers[0].image)), new Set(['i:v2']))
  assert.ok(fewest >= 3, `at the worst ${fewest} pods were ready`)
  const sets = (await api.client.list(R.replicaSets)).items
  assert.deepEqual(sets.map((s) => s.spec.replicas).sort(), [0, 3])
  assert.deepEqual(sets.map((s) => s.metadata.annotations?.['deployment.kubernetes.io/revision']).sort(), ['1', '2'])
  const progressing = (await get(api)).status.conditions.find((c: Json) => c.type === 'Progressing')
  assert.equal(progressing.reason, 'NewReplicaSetAvailable')
})

test('going back to an old template reuses its ReplicaSet under a new revision', async () => {
  await using api = await startApi({ controllers: true })
  await settle()
  playNode(api)
  await api.client.create(R.deployments, web('i:v1') as never)
  await idle(api)
  for (const image of ['i:v2', 'i:v1']) {
    await api.client.patch(
      R.deployments,
      'default',
      'web',
      { spec: { template: { spec: { containers: [{ name: 'c', image }] } } } },
      'strategic',
    )
    await idle(api)
  }
  const sets = (await api.client.list(R.replicaSets)).items
  assert.equal(sets.length, 2)
  const current = sets.find((s) => s.spec.replicas === 3)
  assert.equal(current?.spec.template.spec.containers[0].image, 'i:v1')
  assert.equal(current?.metadata.annotations?.['deployment.kubernetes.io/revision'], '3')
})

test('a rollout that makes no progress says so after its deadline', async () => {
  await using api = await startApi({ controllers: true })
  await settle()
  playNode(api, (pod) => pod.spec.containers[0].image === 'i:bad')
  const spec = web('i:v1')
  spec.spec.progressDeadlineSeconds = 30
  await api.client.create(R.deployments, spec as never)
  await idle(api)
  await api.client.patch(
    R.deployments,
    'default',
    'web',
    { spec: { template: { spec: { containers: [{ name: 'c', image: 'i:bad' }] } } } },
    'strategic',
  )
  await idle(api)
  assert.equal((await pods(api)).filter((p) => p.spec.containers[0].image === 'i:v1').length, 3)
  for (let i = 0; i < 40; i++) await api.clock.advance(1000)
  const progressing = (await get(api)).status.conditions.find((c: Json) => c.type === 'Progressing')
  assert.equal(progressing.reason, 'ProgressDeadlineExceeded')
})

test('deleting a Deployment takes its ReplicaSets and pods along, orphaning leaves them', async () => {
  await using api = await startApi({ controllers: true })
  await settle()
  playNode(api)
  await api.client.create(R.deployments, web('i:v1') as never)
  await idle(api)
  await api.client.delete(R.deployments, 'default', 'web', { propagationPolicy: 'Background' })
  await idle(api)
  assert.equal((await pods(api)).length, 0)
  await api.client.create(R.deployments, web('i:v1') as never)
  await idle(api)
  await api.client.delete(R.deployments, 'default', 'web', { propagationPolicy: 'Orphan' })
  await idle(api)
  assert.equal((await pods(api)).length, 3)
  const [set] = (await api.client.list(R.replicaSets)).items
  assert.equal(set?.metadata.ownerReferences?.length ?? 0, 0)
})
