// The disruption controller: keeps the status of PodDisruptionBudgets, which evictions ask.

import { controllerOf, isNotFound, type KubeObject, keyOf, labelSelector, resources, sameJson, splitKey } from '#api'
import type { Log } from '#base'
import { Controller, type Informers } from '#client'
import { budgetStatus } from './disruption-plan.ts'

export function disruptionController(informers: Informers, log: Log): Controller {
  const { client, clock } = informers
  const budgets = informers.for(resources.podDisruptionBudgets)
  const pods = informers.for(resources.pods)
  const sets = informers.for(resources.replicaSets)
  const deployments = informers.for(resources.deployments)
  const others = {
    StatefulSet: informers.for(resources.statefulSets),
    ReplicationController: informers.for(resources.replicationControllers),
  }
  pods.addIndex('namespace', (o) => [o.metadata.namespace ?? ''])
  const controller = new Controller({ name: 'disruption', clock, log, workers: 1, reconcile })
  budgets.on(({ object }) => controller.queue.add(keyOf(object)))
  pods.on(({ object, old }) => {
    for (const budget of budgets.list(object.metadata.namespace))
      if (covers(budget, object) || (old && covers(budget, old))) controller.queue.add(keyOf(budget))
  })
  for (const informer of [sets, deployments, ...Object.values(others)])
    informer.on(({ object, old }) => {
      if (old?.spec?.replicas === object.spec?.replicas) return
      for (const budget of budgets.list(object.metadata.namespace)) controller.queue.add(keyOf(budget))
    })
  return controller

  async function reconcile(key: string): Promise<{ requeueAfter: number } | undefined> {
    const budget = budgets.get(key)
    if (!budget || budget.metadata.deletionTimestamp) return
    const { namespace } = splitKey(key)
    const own = pods
      .byIndex('namespace', namespace)
      .filter((p) => covers(budget, p) && p.status?.phase !== 'Succeeded' && p.status?.phase !== 'Failed')
    const status = budgetStatus(budget, own, replicasOf(own), clock.now())
    if (!sameJson(status, budget.status))
      try {
        await client.updateStatus(resources.podDisruptionBudgets, { ...budget, status })
      } catch (error) {
        if (!isNotFound(error)) throw error
      }
    return Object.keys(status.disruptedPods ?? {}).length > 0 ? { requeueAfter: 10_000 } : undefined
  }

  /** What the controllers of the pods ask for together; undefined when a pod has none. */
  function replicasOf(list: readonly KubeObject[]): number | undefined {
    const counts = new Map<string, number>()
    for (const pod of list) {
      let owner = controllerOf(pod)
      let object: KubeObject | undefined
      const at = (name: string) => `${pod.metadata.namespace}/${name}`
      if (owner?.kind === 'ReplicaSet') {
        object = sets.get(at(owner.name))
        const above = object && controllerOf(object)
        if (above?.kind === 'Deployment') {
          owner = above
          object = deployments.get(at(above.name))
        }
      } else if (owner) object = others[owner.kind as keyof typeof others]?.get(at(owner.name))
      if (!owner || !object) return undefined
      counts.set(object.metadata.uid, object.spec?.replicas ?? 1)
    }
    return [...counts.values()].reduce((a, b) => a + b, 0)
  }
}

/** In policy/v1 an empty selector covers the whole namespace, none covers nothing. */
function covers(budget: KubeObject, pod: KubeObject): boolean {
  return (
    budget.metadata.namespace === pod.metadata.namespace && labelSelector(budget.spec?.selector)(pod.metadata.labels)
  )
}
