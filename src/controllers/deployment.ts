// The Deployment controller: one ReplicaSet a template, rolled from the old to the new.

import {
  controllerOf,
  controllerRef,
  isAlreadyExists,
  isNotFound,
  type KubeObject,
  keyOf,
  labelSelector,
  resources,
  sameJson,
} from '#api'
import { type Log, messageOf, rfc3339 } from '#base'
import { Controller, EventRecorder, type Informers, type ReconcileResult } from '#client'
import {
  DESIRED,
  deploymentStatus,
  HASH_LABEL,
  initialReplicas,
  MAX,
  nextRevision,
  planRollout,
  planScaling,
  REVISION,
  revisionOf,
  rollingLimits,
  type ScaleStep,
  sameTemplate,
  splitSets,
  surplusHistory,
  templateHash,
} from './deployment-plan.ts'

/** Annotations that stay with the Deployment. */
const OWN_ANNOTATIONS = new Set([
  'kubectl.kubernetes.io/last-applied-configuration',
  REVISION,
  'deployment.kubernetes.io/revision-history',
  DESIRED,
  MAX,
])

export function deploymentController(informers: Informers, log: Log): Controller {
  const { client, clock } = informers
  const deployments = informers.for(resources.deployments)
  const sets = informers.for(resources.replicaSets)
  const pods = informers.for(resources.pods)
  const events = new EventRecorder(client, clock, log, 'deployment-controller')
  sets.addIndex('owner', (o) => [controllerOf(o)?.uid ?? `orphan/${o.metadata.namespace}`])
  pods.addIndex('owner', (o) => [controllerOf(o)?.uid ?? ''])

  const controller = new Controller({ name: 'deployment', clock, log, workers: 8, reconcile })
  deployments.on(({ object }) => controller.queue.add(keyOf(object)))
  sets.on(({ object, old }) => {
    for (const set of old ? [object, old] : [object]) {
      const owner = controllerOf(set)
      if (owner?.kind === 'Deployment') controller.queue.add(`${set.metadata.namespace}/${owner.name}`)
      else if (!owner)
        for (const d of deployments.list(set.metadata.namespace))
          if (labelSelector(d.spec.selector)(set.metadata.labels)) controller.queue.add(keyOf(d))
    }
  })
  pods.on(({ type, object }) => {
    // Recreate waits for the last old pod to be gone.
    if (type !== 'deleted') return
    const set = sets.list(object.metadata.namespace).find((s) => s.metadata.uid === controllerOf(object)?.uid)
    const owner = set && controllerOf(set)
    if (owner?.kind === 'Deployment') controller.queue.add(`${object.metadata.namespace}/${owner.name}`)
  })
  return controller

  async function reconcile(key: string): Promise<ReconcileResult> {
    const deployment = deployments.get(key)
    if (!deployment) return
    const owned = await claimSets(deployment)
    if (deployment.metadata.deletionTimestamp) return writeStatus(deployment, owned)
    let { current, old } = splitSets(deployment, owned)
    const resized = owned.some(
      (s) =>
        (s.spec.replicas ?? 0) > 0 &&
        s.metadata.annotations?.[DESIRED] !== undefined &&
        Number(s.metadata.annotations[DESIRED]) !== deployment.spec.replicas,
    )
    if (deployment.spec.paused || (resized && current)) {
      for (const step of planScaling(deployment, [...old, ...(current ? [current] : [])])) await scale(deployment, step)
      if (resized)
        for (const set of [...old, ...(current ? [current] : [])])
          await annotate(deployment, sets.get(keyOf(set)) ?? set)
    }
    if (!deployment.spec.paused) {
      current ??= await createSet(deployment, old)
      current = await syncRevision(deployment, current, old)
      old = ownedNow(deployment).filter((s) => s.metadata.uid !== current!.metadata.uid)
      const oldPods = old.reduce((n, s) => n + pods.byIndex('owner', s.metadata.uid).length, 0)
      for (const step of planRollout(deployment, current, old, oldPods)) await scale(deployment, step)
      for (const set of surplusHistory(deployment, old)) await removeSet(set)
    }
    return writeStatus(deployment, ownedNow(deployment))
  }

  function ownedNow(deployment: KubeObject): KubeObject[] {
    return sets.byIndex('owner', deployment.metadata.uid)
  }

  /** The Deployment's ReplicaSets, adopting orphans that match. */
  async function claimSets(deployment: KubeObject): Promise<KubeObject[]> {
    const matches = labelSelector(deployment.spec.selector)
    for (const set of sets.byIndex('owner', `orphan/${deployment.metadata.namespace}`))
      if (matches(set.metadata.labels) && !set.metadata.deletionTimestamp && !deployment.metadata.deletionTimestamp)
        await client.patch(resources.replicaSets, set.metadata.namespace!, set.metadata.name, {
          metadata: {
            uid: set.metadata.uid,
            ownerReferences: [...(set.metadata.ownerReferences ?? []), controllerRef(deployment)],
          },
        })
    return ownedNow(deployment)
  }

  async function createSet(deployment: KubeObject, old: readonly KubeObject[]): Promise<KubeObject> {
    const { template, selector, minReadySeconds } = deployment.spec
    const collisions = deployment.status?.collisionCount ?? 0
    const hash = templateHash(template, collisions)
    const name = `${deployment.metadata.name}-${hash}`
    const labels = { ...template.metadata?.labels, [HASH_LABEL]: hash }
    const { creationTimestamp: _, ...metadata } = template.metadata ?? {}
    const replicas = initialReplicas(deployment, old)
    try {
      const set = await client.create(resources.replicaSets, {
        metadata: {
          name,
          namespace: deployment.metadata.namespace!,
          labels,
          annotations: { ...inherited(deployment), ...sizes(deployment), [REVISION]: String(nextRevision(old)) },
          ownerReferences: [controllerRef(deployment)],
        },
        spec: {
          replicas,
          ...(minReadySeconds ? { minReadySeconds } : {}),
          selector: { ...selector, matchLabels: { ...selector.matchLabels, [HASH_LABEL]: hash } },
          template: { ...template, metadata: { ...metadata, labels } },
        },
      })
      if (replicas > 0)
        events.normal(deployment, 'ScalingReplicaSet', `Scaled up replica set ${name} from 0 to ${replicas}`)
      return set
    } catch (error) {
      if (!isAlreadyExists(error)) {
        events.warning(
          deployment,
          'ReplicaSetCreateError',
          `Failed to create new replica set "${name}": ${messageOf(error)}`,
        )
        throw error
      }
      const existing = await client.get(resources.replicaSets, deployment.metadata.namespace!, name)
      if (controllerOf(existing)?.uid === deployment.metadata.uid && sameTemplate(existing, template)) return existing
      await client.patch(
        resources.deployments,
        deployment.metadata.namespace!,
        deployment.metadata.name,
        { status: { collisionCount: collisions + 1 } },
        'merge',
        'status',
      )
      throw error
    }
  }

  /** Gives the current ReplicaSet the highest revision and the Deployment's annotations, and the Deployment its revision. */
  async function syncRevision(
    deployment: KubeObject,
    current: KubeObject,
    old: readonly KubeObject[],
  ): Promise<KubeObject> {
    const revision = Math.max(nextRevision(old), revisionOf(current))
    const annotations: Record<string, string> = {
      ...current.metadata.annotations,
      ...inherited(deployment),
      ...sizes(deployment),
      [REVISION]: String(revision),
    }
    let set = current
    const minReadySeconds = deployment.spec.minReadySeconds ?? 0
    if (!sameJson(annotations, current.metadata.annotations) || (current.spec.minReadySeconds ?? 0) !== minReadySeconds)
      set = await client.patch(resources.replicaSets, current.metadata.namespace!, current.metadata.name, {
        metadata: { annotations },
        spec: { minReadySeconds },
      })
    if (deployment.metadata.annotations?.[REVISION] !== String(revision))
      await client.patch(resources.deployments, deployment.metadata.namespace!, deployment.metadata.name, {
        metadata: { annotations: { [REVISION]: String(revision) } },
      })
    return set
  }

  async function annotate(deployment: KubeObject, set: KubeObject): Promise<void> {
    const annotations = { ...set.metadata.annotations, ...sizes(deployment) }
    if (!sameJson(annotations, set.metadata.annotations))
      await client.patch(resources.replicaSets, set.metadata.namespace!, set.metadata.name, {
        metadata: { annotations },
      })
  }

  async function scale(deployment: KubeObject, { set, replicas }: ScaleStep): Promise<void> {
    const before = set.spec.replicas ?? 0
    if (before === replicas) return
    await client.patch(resources.replicaSets, set.metadata.namespace!, set.metadata.name, {
      metadata: { annotations: sizes(deployment) },
      spec: { replicas },
    })
    events.normal(
      deployment,
      'ScalingReplicaSet',
      `Scaled ${replicas > before ? 'up' : 'down'} replica set ${set.metadata.name} from ${before} to ${replicas}`,
    )
  }

  async function removeSet(set: KubeObject): Promise<void> {
    try {
      await client.delete(resources.replicaSets, set.metadata.namespace!, set.metadata.name, { uid: set.metadata.uid })
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }

  async function writeStatus(observed: KubeObject, owned: readonly KubeObject[]): Promise<ReconcileResult> {
    const deployment = deployments.get(keyOf(observed))
    if (!deployment || deployment.metadata.uid !== observed.metadata.uid) return
    const { current, old } = splitSets(deployment, owned)
    const now = clock.now()
    const status = deploymentStatus(deployment, current, old, rfc3339(now), now)
    // What was computed is for the generation that was acted on.
    status.observedGeneration = observed.metadata.generation ?? 1
    if (!sameJson(deployment.status, status))
      await client.updateStatus(resources.deployments, { ...deployment, status })
    const progressing = status.conditions.find((c: { type: string }) => c.type === 'Progressing')
    if (!progressing || progressing.reason === 'NewReplicaSetAvailable' || progressing.status !== 'True') return
    const deadline = (deployment.spec.progressDeadlineSeconds ?? 600) * 1000
    return { requeueAfter: Math.max(1000, Date.parse(progressing.lastUpdateTime) + deadline - now + 1000) }
  }
}

/** Annotations a ReplicaSet takes over from its Deployment. */
function inherited(deployment: KubeObject): Record<string, string> {
  return Object.fromEntries(
    Object.entries(deployment.metadata.annotations ?? {}).filter(([k]) => !OWN_ANNOTATIONS.has(k)),
  )
}

function sizes(deployment: KubeObject): Record<string, string> {
  return {
    [DESIRED]: String(deployment.spec.replicas),
    [MAX]: String(deployment.spec.replicas + rollingLimits(deployment).surge),
  }
}
