// What a ReplicaSet should do next, as a pure function of what is there.

import { condition, controllerOf, isPodReady, type Json, type KubeObject, labelSelector } from '#api'

/** Pods by what they mean to a ReplicaSet. */
export interface ReplicaSetPods {
  /** Controlled by the set and alive. */
  owned: KubeObject[]
  /** Match the selector and belong to nobody. */
  adoptable: KubeObject[]
  /** Controlled by the set but no longer matching. */
  released: KubeObject[]
  terminating: number
}

/** Sorts the pods of the namespace out. */
export function claimPods(set: KubeObject, pods: readonly KubeObject[]): ReplicaSetPods {
  const matches = labelSelector(set.spec.selector)
  const result: ReplicaSetPods = { owned: [], adoptable: [], released: [], terminating: 0 }
  for (const pod of pods) {
    const owner = controllerOf(pod)
    const mine = owner?.uid === set.metadata.uid
    if (!mine && (owner || !matches(pod.metadata.labels))) continue
    if (pod.status?.phase === 'Failed' || pod.status?.phase === 'Succeeded') continue
    if (pod.metadata.deletionTimestamp) {
      if (mine) result.terminating++
    } else if (!mine) result.adoptable.push(pod)
    else if (matches(pod.metadata.labels)) result.owned.push(pod)
    else result.released.push(pod)
  }
  return result
}

/** Pods to delete when there are too many, the least useful first. */
export function podsToDelete(pods: readonly KubeObject[], count: number): KubeObject[] {
  return [...pods].sort(compareForDeletion).slice(0, count)
}

const PHASES: Record<string, number> = { Pending: 0, Unknown: 1, Running: 2 }

function compareForDeletion(a: KubeObject, b: KubeObject): number {
  const assigned = Number(Boolean(a.spec.nodeName)) - Number(Boolean(b.spec.nodeName))
  if (assigned) return assigned
  const phase = (PHASES[a.status?.phase] ?? 0) - (PHASES[b.status?.phase] ?? 0)
  if (phase) return phase
  const ready = Number(isPodReady(a)) - Number(isPodReady(b))
  if (ready) return ready
  const cost = deletionCost(a) - deletionCost(b)
  if (cost) return cost
  const restarts = maxRestarts(b) - maxRestarts(a)
  if (restarts) return restarts
  // The newer one goes first.
  return (
    Date.parse(b.metadata.creationTimestamp) - Date.parse(a.metadata.creationTimestamp) ||
    b.metadata.name.localeCompare(a.metadata.name)
  )
}

const deletionCost = (pod: KubeObject) =>
  Number(pod.metadata.annotations?.['controller.kubernetes.io/pod-deletion-cost'] ?? 0)
const maxRestarts = (pod: KubeObject) =>
  Math.max(0, ...(pod.status?.containerStatuses ?? []).map((c: Json) => c.restartCount ?? 0))

/** True when a pod has been ready for `minReadySeconds`. `now` is milliseconds. */
export function isAvailable(pod: KubeObject, minReadySeconds: number, now: number): boolean {
  const ready = condition(pod, 'Ready')
  if (ready?.status !== 'True') return false
  return minReadySeconds === 0 || Date.parse(ready.lastTransitionTime) + minReadySeconds * 1000 <= now
}

/** The status of a ReplicaSet with these pods. */
export function replicaSetStatus(set: KubeObject, pods: readonly KubeObject[], terminating: number, now: number): Json {
  const template = Object.entries<string>(set.spec.template?.metadata?.labels ?? {})
  const count = (test: (pod: KubeObject) => boolean) => pods.filter(test).length
  const status: Json = { replicas: pods.length, observedGeneration: set.metadata.generation ?? 1 }
  const numbers = {
    fullyLabeledReplicas: count((p) => template.every(([k, v]) => p.metadata.labels?.[k] === v)),
    readyReplicas: count(isPodReady),
    availableReplicas: count((p) => isAvailable(p, set.spec.minReadySeconds ?? 0, now)),
    terminatingReplicas: terminating,
  }
  for (const [key, value] of Object.entries(numbers)) if (value > 0) status[key] = value
  if (set.status?.conditions) status.conditions = set.status.conditions
  return status
}
