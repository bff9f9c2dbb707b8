// What to do next for a pod, as a pure function of its spec and what the runtime has.

import type { Json, KubeObject } from '#api'
import type { ContainerInfo, SandboxInfo } from './runtime.ts'

/** What is known of a pod on this node. */
export interface PodState {
  /** The newest sandbox that is ready. */
  sandbox: SandboxInfo | undefined
  /** Sandboxes that are not. */
  deadSandboxes: readonly SandboxInfo[]
  /** Newest attempt first. */
  containers: readonly ContainerInfo[]
  /** Container ids the liveness or startup probe has condemned. */
  condemned: ReadonlySet<string>
  /** When a container may start again, by name; milliseconds. */
  notBefore: ReadonlyMap<string, number>
}

export type Action =
  | { type: 'createSandbox'; attempt: number }
  | { type: 'start'; container: Json; attempt: number; init: boolean }
  | { type: 'kill'; id: string; container: Json; reason: string }
  | { type: 'wait'; ms: number }

const specs = (pod: KubeObject, key: 'initContainers' | 'containers' | 'ephemeralContainers'): Json[] =>
  pod.spec[key] ?? []

/** A restartable init container: it starts with them and runs with the others. */
export const isSidecar = (container: Json): boolean => container.restartPolicy === 'Always'

/** The newest attempt of a container in the current sandbox. */
export function newest(state: PodState, name: string): ContainerInfo | undefined {
  return state.containers.find((c) => c.name === name && (!state.sandbox || c.sandboxId === state.sandbox.id))
}

/** Containers of a name that were made and never started: whoever made them ended in between. They are made anew. */
export const unstarted = (state: PodState, name: string): ContainerInfo[] =>
  state.containers.filter((c) => c.name === name && c.state === 'created')

const attempts = (state: PodState, name: string) =>
  Math.max(-1, ...state.containers.filter((c) => c.name === name && c.state !== 'created').map((c) => c.attempt))

/** True when a pod has ended for good. */
export function isFinished(pod: KubeObject): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed'
}

/** The steps to take now, in order. An empty list means: nothing until something changes. */
export function planPod(pod: KubeObject, state: PodState, now: number): Action[] {
  if (isFinished(pod)) return []
  const { sandbox } = state
  if (!sandbox) {
    const attempt = Math.max(-1, ...state.deadSandboxes.map((s) => s.attempt)) + 1
    // Containers that ended for good are not started again in a new sandbox.
    if (attempt > 0 && !specs(pod, 'containers').some((c) => mayRestart(pod, state, c))) return []
    return [{ type: 'createSandbox', attempt }]
  }
  const actions: Action[] = []
  const restartSidecars = () => {
    for (const c of specs(pod, 'initContainers')) if (isSidecar(c)) actions.push(...step(pod, state, c, now, true))
  }
  for (const c of specs(pod, 'initContainers')) {
    const info = newest(state, c.name)
    if (isSidecar(c)) {
      if (info?.state === 'running') continue
      return [...actions, ...step(pod, state, c, now, true)]
    }
    if (info?.state === 'exited' && info.exitCode === 0) continue
    // The application has started before: its init containers are done, whatever the runtime still has of them.
    if (!info && specs(pod, 'containers').some((x) => newest(state, x.name))) continue
    if (info?.state === 'running') return actions
    if (info?.state === 'exited' && pod.spec.restartPolicy === 'Never') return actions
    return [...actions, ...step(pod, state, c, now, true)]
  }
  restartSidecars()
  for (const c of specs(pod, 'containers')) actions.push(...step(pod, state, c, now, false))
  // An ephemeral container runs once.
  for (const c of specs(pod, 'ephemeralContainers'))
    if (attempts(state, c.name) < 0) actions.push({ type: 'start', container: c, attempt: 0, init: false })
  return actions
}

function step(pod: KubeObject, state: PodState, container: Json, now: number, init: boolean): Action[] {
  const info = newest(state, container.name)
  if (info?.state === 'running') {
    if (!state.condemned.has(info.id)) return []
    return [{ type: 'kill', id: info.id, container, reason: 'Unhealthy' }]
  }
  if (info && !init && !mayRestart(pod, state, container)) return []
  const wait = (state.notBefore.get(container.name) ?? 0) - now
  if (wait > 0) return [{ type: 'wait', ms: wait }]
  return [{ type: 'start', container, attempt: attempts(state, container.name) + 1, init }]
}

function mayRestart(pod: KubeObject, state: PodState, container: Json): boolean {
  const last = state.containers.find((c) => c.name === container.name)
  if (last?.state !== 'exited') return true
  if (pod.spec.restartPolicy === 'Never') return false
  return pod.spec.restartPolicy !== 'OnFailure' || last.exitCode !== 0
}

const CRASH_FIRST = 10_000
const CRASH_MAX = 300_000
/** A container that ran this long has recovered. */
const CRASH_RESET = 600_000

/** The delay before the next restart: doubles with every crash. `ran` is how long it ran, milliseconds. */
export function crashDelay(previous: number, ran: number): number {
  if (ran >= CRASH_RESET || previous === 0) return CRASH_FIRST
  return Math.min(previous * 2, CRASH_MAX)
}
