// The ReplicaSet controller: as many pods as asked for.

import {
  controllerOf,
  controllerRef,
  isNotFound,
  type KubeObject,
  keyOf,
  labelSelector,
  resources,
  sameJson,
  splitKey,
} from '#api'
import { type Log, messageOf, rfc3339 } from '#base'
import { Controller, EventRecorder, type Informers, type ReconcileResult } from '#client'
import { Expectations } from './expectations.ts'
import { claimPods, podsToDelete, replicaSetStatus } from './replica-set-plan.ts'

/** Makes the controller; run it with `run`. */
export function replicaSetController(informers: Informers, log: Log): Controller {
  const { client, clock } = informers
  const sets = informers.for(resources.replicaSets)
  const pods = informers.for(resources.pods)
  const events = new EventRecorder(client, clock, log, 'replicaset-controller')
  const expectations = new Expectations()
  pods.addIndex('namespace', (o) => [o.metadata.namespace ?? ''])

  const controller = new Controller({ name: 'replicaset', clock, log, workers: 8, reconcile })
  sets.on(({ object }) => controller.queue.add(keyOf(object)))
  pods.on((change) => {
    expectations.observe(change)
    for (const pod of change.old ? [change.object, change.old] : [change.object]) {
      const owner = controllerOf(pod)
      if (owner?.kind === 'ReplicaSet') controller.queue.add(`${pod.metadata.namespace}/${owner.name}`)
      else if (!owner)
        for (const set of sets.list(pod.metadata.namespace))
          if (labelSelector(set.spec.selector)(pod.metadata.labels)) controller.queue.add(keyOf(set))
    }
  })
  return controller

  async function reconcile(key: string): Promise<ReconcileResult> {
    const set = sets.get(key)
    if (!set) return
    const { namespace } = splitKey(key)
    const claimed = claimPods(set, pods.byIndex('namespace', namespace))
    if (!set.metadata.deletionTimestamp) {
      await claim(set, claimed.adoptable, claimed.released)
      if (expectations.satisfied(key)) await scale(set, key, [...claimed.owned, ...claimed.adoptable])
    }
    const current = sets.get(key)
    if (!current || current.metadata.uid !== set.metadata.uid) return
    const now = claimPods(current, pods.byIndex('namespace', namespace))
    const status = replicaSetStatus(current, now.owned, now.terminating, clock.now())
    if (!sameJson(current.status, status)) await client.updateStatus(resources.replicaSets, { ...current, status })
    const waiting = (status.readyReplicas ?? 0) > (status.availableReplicas ?? 0)
    if (waiting) return { requeueAfter: 1000 }
  }

  async function claim(set: KubeObject, adopt: readonly KubeObject[], release: readonly KubeObject[]): Promise<void> {
    const uid = set.metadata.uid
    for (const pod of adopt)
      await client.patch(resources.pods, pod.metadata.namespace!, pod.metadata.name, {
        metadata: {
          uid: pod.metadata.uid,
          ownerReferences: [...(pod.metadata.ownerReferences ?? []), controllerRef(set)],
        },
      })
    for (const pod of release)
      await client.patch(resources.pods, pod.metadata.namespace!, pod.metadata.name, {
        metadata: {
          uid: pod.metadata.uid,
          ownerReferences: (pod.metadata.ownerReferences ?? []).filter((r) => r.uid !== uid),
        },
      })
  }

  async function scale(set: KubeObject, key: string, owned: readonly KubeObject[]): Promise<void> {
    const difference = (set.spec.replicas ?? 1) - owned.length
    if (difference > 0) await create(set, key, Math.min(difference, 500))
    else if (difference < 0) await remove(set, key, podsToDelete(owned, -difference))
  }

  async function create(set: KubeObject, key: string, count: number): Promise<void> {
    const { template } = set.spec
    // The first one alone: when it is refused, so are the others.
    for (let done = 0, batch = 1; done < count; done += batch, batch = Math.min(batch * 2, count - done)) {
      await Promise.all(Array.from({ length: batch }, () => createOne()))
    }
    async function createOne(): Promise<void> {
      try {
        const pod = await client.create(resources.pods, {
          metadata: {
            generateName: `${set.metadata.name}-`,
            namespace: set.metadata.namespace!,
            ...(template.metadata?.labels ? { labels: template.metadata.labels } : {}),
            ...(template.metadata?.annotations ? { annotations: template.metadata.annotations } : {}),
            ...(template.metadata?.finalizers ? { finalizers: template.metadata.finalizers } : {}),
            ownerReferences: [controllerRef(set)],
          },
          spec: template.spec,
        })
        if (!pods.get(keyOf(pod))) expectations.expect(key, pod.metadata.uid)
        events.normal(set, 'SuccessfulCreate', `Created pod: ${pod.metadata.name}`)
      } catch (error) {
        events.warning(set, 'FailedCreate', `Error creating: ${messageOf(error)}`)
        await reportFailure(set, messageOf(error))
        throw error
      }
    }
  }

  async function reportFailure(set: KubeObject, message: string): Promise<void> {
    const failure = {
      type: 'ReplicaFailure',
      status: 'True',
      lastTransitionTime: rfc3339(clock.now()),
      reason: 'FailedCreate',
      message,
    }
    const { namespace = '', name } = set.metadata
    await client.patch(
      resources.replicaSets,
      namespace,
      name,
      { status: { conditions: [failure] } },
      'strategic',
      'status',
    )
  }

  async function remove(set: KubeObject, key: string, victims: readonly KubeObject[]): Promise<void> {
    await Promise.all(
      victims.map(async (pod) => {
        try {
          await client.delete(resources.pods, pod.metadata.namespace!, pod.metadata.name, { uid: pod.metadata.uid })
          const seen = pods.get(keyOf(pod))
          if (seen && !seen.metadata.deletionTimestamp && seen.metadata.uid === pod.metadata.uid)
            expectations.expect(key, pod.metadata.uid)
          events.normal(set, 'SuccessfulDelete', `Deleted pod: ${pod.metadata.name}`)
        } catch (error) {
          if (!isNotFound(error)) throw error
        }
      }),
    )
  }
}
