// What a Deployment should do next: which ReplicaSets, how many replicas each, what status. Pure functions.

import { condition, type Json, type KubeObject, sameJson } from '#api'
import { fnv1a, safeEncode } from '#base'

export const REVISION = 'deployment.kubernetes.io/revision'
export const DESIRED = 'deployment.kubernetes.io/desired-replicas'
export const MAX = 'deployment.kubernetes.io/max-replicas'
export const HASH_LABEL = 'pod-template-hash'

/** A ReplicaSet's number of replicas is to become `replicas`. */
export interface ScaleStep {
  readonly set: KubeObject
  readonly replicas: number
}

/** The hash that names a template's ReplicaSet. */
export function templateHash(template: Json, collisions: number): string {
  const text = JSON.stringify(canonical(template)) + (collisions > 0 ? collisions : '')
  return safeEncode(fnv1a(text) * 31 + (fnv1a(`${text}.`) % 1000), 10)
}

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, v]) => v !== null && v !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => [k, canonical(v)]),
  )
}

/** True when a ReplicaSet was made from this template. */
export function sameTemplate(set: KubeObject, template: Json): boolean {
  const { [HASH_LABEL]: _, ...labels } = set.spec.template?.metadata?.labels ?? {}
  const own = { ...set.spec.template, metadata: { ...set.spec.template?.metadata, labels } }
  return sameJson(
    canonical(own),
    canonical({ ...template, metadata: { ...template.metadata, labels: template.metadata?.labels ?? {} } }),
  )
}

/** Splits the Deployment's ReplicaSets into the one of today's template (the oldest, if several) and the others. */
export function splitSets(
  deployment: KubeObject,
  sets: readonly KubeObject[],
): { current: KubeObject | undefined; old: KubeObject[] } {
  const byAge = [...sets].sort(
    (a, b) =>
      Date.parse(a.metadata.creationTimestamp) - Date.parse(b.metadata.creationTimestamp) ||
      a.metadata.name.localeCompare(b.metadata.name),
  )
  const current = byAge.find((s) => sameTemplate(s, deployment.spec.template))
  return { current, old: byAge.filter((s) => s !== current) }
}

export const revisionOf = (object: KubeObject): number => Number(object.metadata.annotations?.[REVISION] ?? 0)

/** The next revision number. */
export function nextRevision(old: readonly KubeObject[]): number {
  return Math.max(0, ...old.map(revisionOf)) + 1
}

/** Resolves "25%" or 1 against a total. */
export function resolveAmount(value: unknown, total: number, round: 'up' | 'down'): number {
  if (typeof value === 'number') return value
  const share = (Number.parseInt(String(value ?? '0'), 10) * total) / 100
  return round === 'up' ? Math.ceil(share) : Math.floor(share)
}

/** The surge and the unavailability a rolling update may use. */
export function rollingLimits(deployment: KubeObject): { surge: number; unavailable: number } {
  const { replicas, strategy } = deployment.spec
  if (strategy?.type === 'Recreate') return { surge: 0, unavailable: 0 }
  const surge = resolveAmount(strategy?.rollingUpdate?.maxSurge ?? '25%', replicas, 'up')
  const unavailable = resolveAmount(strategy?.rollingUpdate?.maxUnavailable ?? '25%', replicas, 'down')
  return surge === 0 && unavailable === 0
    ? { surge, unavailable: 1 }
    : { surge, unavailable: Math.min(unavailable, replicas) }
}

const replicasOf = (set: KubeObject): number => set.spec.replicas ?? 0
const availableOf = (set: KubeObject): number => set.status?.availableReplicas ?? 0
const sum = (sets: readonly KubeObject[], of: (s: KubeObject) => number) => sets.reduce((n, s) => n + of(s), 0)

/** How many replicas a brand-new ReplicaSet starts with. */
export function initialReplicas(deployment: KubeObject, old: readonly KubeObject[]): number {
  const { replicas, strategy } = deployment.spec
  if (strategy?.type === 'Recreate') return sum(old, (s) => s.status?.replicas ?? 0) > 0 ? 0 : replicas
  const room = replicas + rollingLimits(deployment).surge - sum(old, replicasOf)
  return Math.max(0, Math.min(replicas, room))
}

/** The scale steps that may be taken now. */
export function planRollout(
  deployment: KubeObject,
  current: KubeObject,
  old: readonly KubeObject[],
  oldPods: number,
): ScaleStep[] {
  if (deployment.spec.strategy?.type === 'Recreate') return planRecreate(deployment, current, old, oldPods)
  const { replicas } = deployment.spec
  const { surge, unavailable } = rollingLimits(deployment)
  const steps: ScaleStep[] = []
  if (replicasOf(current) > replicas) return [{ set: current, replicas }]
  const room = replicas + surge - (replicasOf(current) + sum(old, replicasOf))
  const grow = Math.min(room, replicas - replicasOf(current))
  if (grow > 0) steps.push({ set: current, replicas: replicasOf(current) + grow })

  const active = old.filter((s) => replicasOf(s) > 0)
  if (active.length === 0) return steps
  const total = replicasOf(current) + sum(old, replicasOf)
  const minimum = replicas - unavailable
  const newUnavailable = replicasOf(current) - availableOf(current)
  let budget = total - minimum - newUnavailable
  const wanted = new Map<KubeObject, number>(active.map((s) => [s, replicasOf(s)]))
  // Replicas that do not serve go first.
  for (const set of active) {
    const unhealthy = Math.min(replicasOf(set) - availableOf(set), Math.max(0, budget))
    if (unhealthy <= 0) continue
    wanted.set(set, replicasOf(set) - unhealthy)
    budget -= unhealthy
  }
  let spare = availableOf(current) + sum(active, (s) => Math.min(availableOf(s), wanted.get(s)!)) - minimum
  for (const set of active) {
    const cut = Math.min(wanted.get(set)!, Math.max(0, spare))
    wanted.set(set, wanted.get(set)! - cut)
    spare -= cut
  }
  for (const [set, count] of wanted) if (count !== replicasOf(set)) steps.push({ set, replicas: count })
  return steps
}

function planRecreate(
  deployment: KubeObject,
  current: KubeObject,
  old: readonly KubeObject[],
  oldPods: number,
): ScaleStep[] {
  const down = old.filter((s) => replicasOf(s) > 0).map((set) => ({ set, replicas: 0 }))
  if (down.length > 0) return down
  if (oldPods > 0) return []
  return replicasOf(current) === deployment.spec.replicas ? [] : [{ set: current, replicas: deployment.spec.replicas }]
}

/** Steps for a change of size while paused or in the middle of a rollout: every set keeps its share. */
export function planScaling(deployment: KubeObject, sets: readonly KubeObject[]): ScaleStep[] {
  const active = sets.filter((s) => replicasOf(s) > 0)
  const only = active.length <= 1 ? (active[0] ?? sets[sets.length - 1]) : undefined
  const { replicas } = deployment.spec
  if (only) return replicasOf(only) === replicas ? [] : [{ set: only, replicas }]
  const before = Math.max(1, ...active.map((s) => Number(s.metadata.annotations?.[DESIRED] ?? 0)))
  if (before === replicas) return []
  const { surge } = rollingLimits(deployment)
  const largestFirst = [...active].sort((a, b) => replicasOf(b) - replicasOf(a))
  const total = sum(active, replicasOf)
  const target = Math.min(replicas + surge, Math.round((total * replicas) / before))
  let rest = target
  return largestFirst
    .map((set, i) => {
      const share =
        i === largestFirst.length - 1 ? rest : Math.min(rest, Math.round((replicasOf(set) * target) / total))
      rest -= share
      return { set, replicas: share }
    })
    .filter((step) => step.replicas !== replicasOf(step.set))
}

/** Old ReplicaSets beyond the history limit, oldest first. */
export function surplusHistory(deployment: KubeObject, old: readonly KubeObject[]): KubeObject[] {
  const idle = old.filter(
    (s) => replicasOf(s) === 0 && (s.status?.replicas ?? 0) === 0 && !s.metadata.deletionTimestamp,
  )
  const surplus = idle.length - (deployment.spec.revisionHistoryLimit ?? 10)
  return surplus > 0 ? [...idle].sort((a, b) => revisionOf(a) - revisionOf(b)).slice(0, surplus) : []
}

/** The Deployment's status. `now` is RFC 3339; `nowMs` milliseconds. */
export function deploymentStatus(
  deployment: KubeObject,
  current: KubeObject | undefined,
  old: readonly KubeObject[],
  now: string,
  nowMs: number,
): Json {
  const all = current ? [current, ...old] : old
  const of = (key: string) => sum(all, (s) => s.status?.[key] ?? 0)
  const available = of('availableReplicas')
  const total = of('replicas')
  const updated = current?.status?.replicas ?? 0
  const status: Json = { observedGeneration: deployment.metadata.generation ?? 1 }
  const numbers = {
    replicas: total,
    updatedReplicas: updated,
    readyReplicas: of('readyReplicas'),
    availableReplicas: available,
    terminatingReplicas: of('terminatingReplicas'),
    unavailableReplicas: Math.max(0, sum(all, replicasOf) - available),
  }
  for (const [key, value] of Object.entries(numbers)) if (value > 0) status[key] = value
  if (deployment.status?.collisionCount) status.collisionCount = deployment.status.collisionCount
  status.conditions = conditions(deployment, current, { ...numbers }, all, now, nowMs)
  return status
}

type Numbers = Record<'replicas' | 'updatedReplicas' | 'availableReplicas' | 'readyReplicas', number>

function conditions(
  deployment: KubeObject,
  current: KubeObject | undefined,
  numbers: Numbers,
  all: readonly KubeObject[],
  now: string,
  nowMs: number,
): Json[] {
  const { replicas } = deployment.spec
  const enough = numbers.availableReplicas >= replicas - rollingLimits(deployment).unavailable
  const result: Json[] = [
    settle(
      condition(deployment, 'Available'),
      enough
        ? {
            type: 'Available',
            status: 'True',
            reason: 'MinimumReplicasAvailable',
            message: 'Deployment has minimum availability.',
          }
        : {
            type: 'Available',
            status: 'False',
            reason: 'MinimumReplicasUnavailable',
            message: 'Deployment does not have minimum availability.',
          },
      now,
    ),
  ]
  const failure = all.map((s) => condition(s, 'ReplicaFailure')).find((c) => c?.status === 'True')
  if (failure && numbers.updatedReplicas < replicas)
    result.push({ ...failure, lastUpdateTime: failure.lastTransitionTime })
  const progressing = progress(deployment, current, numbers, now, nowMs)
  if (progressing) result.push(progressing)
  return result
}

/** Where the rollout stands: under way, done, or stuck beyond its deadline. */
function progress(
  deployment: KubeObject,
  current: KubeObject | undefined,
  numbers: Numbers,
  now: string,
  nowMs: number,
): Json | undefined {
  const before = condition(deployment, 'Progressing')
  if (deployment.spec.paused)
    return settle(
      before,
      { type: 'Progressing', status: 'Unknown', reason: 'DeploymentPaused', message: 'Deployment is paused' },
      now,
    )
  if (!current) return before
  const { replicas } = deployment.spec
  const name = current.metadata.name
  const complete =
    numbers.updatedReplicas === replicas && numbers.replicas === replicas && numbers.availableReplicas === replicas
  if (complete) {
    const done = {
      type: 'Progressing',
      status: 'True',
      reason: 'NewReplicaSetAvailable',
      message: `ReplicaSet "${name}" has successfully progressed.`,
    }
    return before?.reason === done.reason && before.message === done.message ? before : settle(before, done, now, true)
  }
  const last = deployment.status ?? {}
  const moved =
    numbers.updatedReplicas > (last.updatedReplicas ?? 0) ||
    numbers.replicas - numbers.updatedReplicas < (last.replicas ?? 0) - (last.updatedReplicas ?? 0) ||
    numbers.readyReplicas > (last.readyReplicas ?? 0) ||
    numbers.availableReplicas > (last.availableReplicas ?? 0)
  const sameTarget = before?.message?.includes(`"${name}"`)
  if (moved || !before || !sameTarget)
    return settle(
      before,
      {
        type: 'Progressing',
        status: 'True',
        reason: 'ReplicaSetUpdated',
        message: `ReplicaSet "${name}" is progressing.`,
      },
      now,
      true,
    )
  const deadline = (deployment.spec.progressDeadlineSeconds ?? 600) * 1000
  if (before.reason !== 'NewReplicaSetAvailable' && nowMs - Date.parse(before.lastUpdateTime) > deadline)
    return settle(
      before,
      {
        type: 'Progressing',
        status: 'False',
        reason: 'ProgressDeadlineExceeded',
        message: `ReplicaSet "${name}" has timed out progressing.`,
      },
      now,
    )
  return before
}

function settle(before: Json | undefined, next: Json, now: string, touch = false): Json {
  const same = before?.status === next.status
  const unchanged = same && before?.reason === next.reason && before?.message === next.message
  return {
    type: next.type,
    status: next.status,
    lastUpdateTime: before && unchanged && !touch ? before.lastUpdateTime : now,
    lastTransitionTime: before && same ? before.lastTransitionTime : now,
    reason: next.reason,
    message: next.message,
  }
}
