// A pod's status, computed from its spec and what the runtime has. Pure.

import { condition, type Json, type KubeObject } from '#api'
import { rfc3339 } from '#base'
import { isSidecar, newest, type PodState } from './pod-plan.ts'
import type { ContainerInfo } from './runtime.ts'

/** What the status needs besides the runtime's state. */
export interface StatusContext {
  now: number
  hostIp: string
  podIp: string
  /** Readiness by container id; absent means no verdict yet. */
  ready: ReadonlyMap<string, boolean>
  /** Startup by container id, for containers with a startup probe. */
  started: ReadonlyMap<string, boolean>
  /** Why a container cannot start now, by name. */
  waiting: ReadonlyMap<string, { reason: string; message: string }>
  /** Termination messages by container id. */
  messages: ReadonlyMap<string, string>
  imageIds: ReadonlyMap<string, string>
  /** The resources a running container has, by container id; absent means those of its spec. */
  resources: ReadonlyMap<string, Json>
}

export function podStatus(pod: KubeObject, state: PodState, context: StatusContext): Json {
  const init: Json[] = pod.spec.initContainers ?? []
  const main: Json[] = pod.spec.containers
  const initDone = init.every((c) => {
    const info = newest(state, c.name)
    return isSidecar(c)
      ? info?.state === 'running'
      : (info?.state === 'exited' && info.exitCode === 0) || (!info && main.some((m) => newest(state, m.name)))
  })
  const initStatuses = init.map((c) => containerStatus(pod, c, state, context, true))
  const statuses = main.map((c) => containerStatus(pod, c, state, context, initDone))
  const ephemeral = ((pod.spec.ephemeralContainers ?? []) as Json[]).map((c) =>
    containerStatus(pod, c, state, context, true),
  )
  const phase = phaseOf(pod, initStatuses, statuses)
  const ready = statuses.every((s) => s.ready) && initStatuses.every((s, i) => !isSidecar(init[i]!) || s.ready)
  const started = state.sandbox !== undefined
  const previous = pod.status ?? {}
  const unready = statuses.filter((s) => !s.ready).map((s) => s.name)
  const ended = phase === 'Succeeded' || phase === 'Failed'
  const because = ended
    ? { reason: phase === 'Succeeded' ? 'PodCompleted' : 'PodFailed' }
    : { reason: 'ContainersNotReady', message: `containers with unready status: [${unready.join(' ')}]` }
  const gates: Json[] = pod.spec.readinessGates ?? []
  const gatesMet = gates.every((g) => condition(pod, g.conditionType)?.status === 'True')
  const conditions = [
    set(pod, context.now, 'PodReadyToStartContainers', started),
    set(pod, context.now, 'Initialized', initDone || ended, {
      reason: 'ContainersNotInitialized',
      message: `containers with incomplete status: [${initStatuses
        .filter((s) => !s.ready)
        .map((s) => s.name)
        .join(' ')}]`,
    }),
    set(pod, context.now, 'Ready', ready && !ended && gatesMet, because),
    set(pod, context.now, 'ContainersReady', ready && !ended, because),
    condition(pod, 'PodScheduled') ?? set(pod, context.now, 'PodScheduled', true),
    ...(previous.conditions ?? []).filter((c: Json) => !OWN.has(c.type)),
  ]
  return {
    ...(pod.metadata.generation ? { observedGeneration: pod.metadata.generation } : {}),
    phase,
    conditions,
    hostIP: context.hostIp,
    hostIPs: [{ ip: context.hostIp }],
    ...(context.podIp ? { podIP: context.podIp, podIPs: [{ ip: context.podIp }] } : {}),
    startTime: previous.startTime ?? rfc3339(context.now),
    ...(initStatuses.length > 0 ? { initContainerStatuses: initStatuses } : {}),
    containerStatuses: statuses,
    ...(ephemeral.length > 0 ? { ephemeralContainerStatuses: ephemeral } : {}),
    qosClass: previous.qosClass ?? 'BestEffort',
  }
}

const OWN = new Set(['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'])

function set(
  pod: KubeObject,
  now: number,
  type: string,
  ok: boolean,
  why: { reason: string; message?: string } | undefined = undefined,
): Json {
  const before = condition(pod, type)
  const status = ok ? 'True' : 'False'
  return {
    type,
    status,
    ...(pod.metadata.generation ? { observedGeneration: pod.metadata.generation } : {}),
    lastProbeTime: null,
    lastTransitionTime: before?.status === status ? before.lastTransitionTime : rfc3339(now),
    ...(ok ? {} : why),
  }
}

function phaseOf(pod: KubeObject, init: readonly Json[], main: readonly Json[]): string {
  const specs: Json[] = pod.spec.initContainers ?? []
  for (const [i, s] of init.entries()) {
    if (isSidecar(specs[i]!)) continue
    if (s.state.terminated && s.state.terminated.exitCode !== 0 && pod.spec.restartPolicy === 'Never') return 'Failed'
    if (s.state.terminated?.exitCode !== 0) return 'Pending'
  }
  const running = main.filter((s) => s.state.running).length
  const waiting = main.filter((s) => s.state.waiting && !s.lastState?.terminated).length
  const restarting = main.filter((s) => s.state.waiting && s.lastState?.terminated).length
  const ended = main.filter((s) => s.state.terminated)
  if (waiting > 0) return 'Pending'
  if (running > 0 || restarting > 0) return 'Running'
  if (pod.spec.restartPolicy === 'Always') return 'Running'
  const failed = ended.some((s) => s.state.terminated.exitCode !== 0)
  if (!failed) return 'Succeeded'
  return pod.spec.restartPolicy === 'Never' ? 'Failed' : 'Running'
}

function containerStatus(
  pod: KubeObject,
  spec: Json,
  state: PodState,
  context: StatusContext,
  mayStart: boolean,
): Json {
  const all = state.containers.filter((c) => c.name === spec.name)
  const info = newest(state, spec.name) ?? (state.sandbox ? undefined : all[0])
  const before = ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses']
    .flatMap((key): Json[] => pod.status?.[key] ?? [])
    .find((s) => s.name === spec.name)
  const waiting = context.waiting.get(spec.name)
  const init = (pod.spec.initContainers ?? []).includes(spec)
  let current: Json
  let last: Json = before?.lastState ?? {}
  if (info?.state === 'running') current = { running: { startedAt: rfc3339(info.startedAt) } }
  else if (info?.state === 'exited' && waiting) {
    current = { waiting }
    last = { terminated: terminated(info, context) }
  } else if (info?.state === 'exited') current = { terminated: terminated(info, context) }
  else
    current = {
      waiting: waiting ?? {
        reason: !mayStart || (pod.spec.initContainers?.length && !init) ? 'PodInitializing' : 'ContainerCreating',
      },
    }
  const older = all.find((c) => c !== info && c.state === 'exited')
  if (info && older && info.state !== 'exited') last = { terminated: terminated(older, context) }
  const started = info?.state === 'running' && (!spec.startupProbe || context.started.get(info.id) === true)
  const ready =
    init && !isSidecar(spec)
      ? info?.state === 'exited' && info.exitCode === 0
      : started &&
        info !== undefined &&
        (spec.readinessProbe ? context.ready.get(info.id) === true : context.ready.get(info.id) !== false)
  const ephemeral = (pod.spec.ephemeralContainers ?? []).includes(spec)
  const resources: Json = (info && context.resources.get(info.id)) ?? spec.resources ?? {}
  const restarts = Math.max(before?.restartCount ?? 0, ...all.map((c) => c.attempt))
  return {
    name: spec.name,
    state: current,
    lastState: last,
    ready: Boolean(ready),
    restartCount: restarts,
    image: spec.image,
    imageID: context.imageIds.get(spec.image) ?? info?.imageRef ?? '',
    ...(info ? { containerID: `containerd://${info.id}` } : {}),
    started: Boolean(started),
    ...(ephemeral || Object.keys(resources).length === 0
      ? {}
      : { ...(resources.requests ? { allocatedResources: resources.requests } : {}), resources }),
  }
}

function terminated(info: ContainerInfo, context: StatusContext): Json {
  const message = context.messages.get(info.id) || info.message
  return {
    exitCode: info.exitCode,
    reason: info.reason || (info.exitCode === 0 ? 'Completed' : 'Error'),
    ...(message ? { message } : {}),
    startedAt: rfc3339(info.startedAt || info.createdAt),
    finishedAt: rfc3339(info.finishedAt),
    containerID: `containerd://${info.id}`,
  }
}
