// How many pods of a PodDisruptionBudget may be evicted now. Pure; the rules of upstream's disruption controller.

import { isPodReady, type Json, type KubeObject } from '#api'
import { rfc3339 } from '#base'

/** How long an eviction that was granted may take before it no longer counts, milliseconds. */
const DELETION_TIMEOUT = 120_000

/** "30%" of `total`, rounded up, or the number itself. */
export function scaledUp(value: unknown, total: number): number {
  if (typeof value === 'number') return value
  return Math.ceil((Number(String(value).replace('%', '')) * total) / 100) || 0
}

/**
 * The status of a budget. `replicas` is what the pods' controllers ask for together; undefined when a pod
 * has no controller with a scale, which a budget by percentage needs.
 */
export function budgetStatus(
  budget: KubeObject,
  pods: readonly KubeObject[],
  replicas: number | undefined,
  now: number,
): Json {
  const { minAvailable, maxUnavailable } = budget.spec
  const needsScale = maxUnavailable !== undefined || typeof minAvailable === 'string'
  const disrupted = pendingEvictions(budget, pods, now)
  const currentHealthy = pods.filter(
    (p) => isPodReady(p) && !p.metadata.deletionTimestamp && !(p.metadata.name in disrupted),
  ).length
  const expectedPods = needsScale ? (replicas ?? 0) : pods.length
  const desiredHealthy =
    maxUnavailable !== undefined
      ? Math.max(0, expectedPods - scaledUp(maxUnavailable, expectedPods))
      : scaledUp(minAvailable ?? 1, expectedPods)
  const unknown = needsScale && replicas === undefined
  const disruptionsAllowed = unknown || expectedPods <= 0 ? 0 : Math.max(0, currentHealthy - desiredHealthy)
  const before = (budget.status?.conditions ?? []).find((c: Json) => c.type === 'DisruptionAllowed')
  const status = disruptionsAllowed > 0 ? 'True' : 'False'
  return {
    observedGeneration: budget.metadata.generation,
    ...(Object.keys(disrupted).length > 0 ? { disruptedPods: disrupted } : {}),
    disruptionsAllowed,
    currentHealthy,
    desiredHealthy,
    expectedPods,
    conditions: [
      {
        type: 'DisruptionAllowed',
        status,
        observedGeneration: budget.metadata.generation,
        lastTransitionTime: before?.status === status ? before.lastTransitionTime : rfc3339(now),
        reason: unknown ? 'SyncFailed' : disruptionsAllowed > 0 ? 'SufficientPods' : 'InsufficientPods',
        message: unknown ? 'a pod of the budget has no controller with a scale' : '',
      },
    ],
  }
}

/** Evictions that were granted and whose pods are still there. */
function pendingEvictions(budget: KubeObject, pods: readonly KubeObject[], now: number): Record<string, string> {
  const names = new Set(pods.filter((p) => !p.metadata.deletionTimestamp).map((p) => p.metadata.name))
  const entries = Object.entries<string>(budget.status?.disruptedPods ?? {})
  return Object.fromEntries(entries.filter(([name, at]) => names.has(name) && now - Date.parse(at) < DELETION_TIMEOUT))
}
