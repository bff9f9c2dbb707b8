import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '#api'
import { type PodState, planPod } from './pod-plan.ts'
import type { ContainerInfo, SandboxInfo } from './runtime.ts'

const pod = (spec: object) =>
  ({ metadata: { name: 'p' }, spec: { restartPolicy: 'Always', ...spec } }) as unknown as KubeObject
type Made = readonly [name: string, state: ContainerInfo['state'], attempt?: number, exitCode?: number]
const state = (...containers: Made[]) =>
  ({
    sandbox: { id: 's' } as SandboxInfo,
    deadSandboxes: [],
    containers: containers.map(([name, is, attempt = 0, exitCode = 0]) => ({
      id: `${name}-${attempt}`,
      sandboxId: 's',
      name,
      state: is,
      attempt,
      exitCode,
    })) as unknown as ContainerInfo[],
    condemned: new Set(),
    notBefore: new Map(),
  }) satisfies PodState

const planned = (of: KubeObject, now: PodState) =>
  planPod(of, now, 0).map((a) => (a.type === 'start' ? `start ${a.container.name} ${a.attempt}` : a.type))

// A server that was killed between the making and the starting of an init container left it so, and the next one waited
// for it to end: the pod stayed in Init:ContainerCreating for ever.
test('a container that was made and never started is made anew, as the same attempt', () => {
  const init = { name: 'init' }
  const sidecar = { name: 'side', restartPolicy: 'Always' }
  const app = { name: 'app' }
  const all = pod({ initContainers: [init, sidecar], containers: [app], ephemeralContainers: [{ name: 'debug' }] })
  assert.deepEqual(planned(all, state(['init', 'created'])), ['start init 0'])
  assert.deepEqual(planned(all, state(['init', 'created', 1], ['init', 'exited', 0, 1])), ['start init 1'])
  assert.deepEqual(planned(all, state(['init', 'running'])), [])
  assert.deepEqual(planned(all, state(['init', 'exited'], ['side', 'created'])), ['start side 0'])
  const up = [
    ['init', 'exited'],
    ['side', 'running'],
  ] as const
  assert.deepEqual(planned(all, state(...up, ['app', 'created'])), ['start app 0', 'start debug 0'])
  assert.deepEqual(planned(all, state(...up, ['app', 'running'], ['debug', 'created'])), ['start debug 0'])
  const once = pod({ restartPolicy: 'Never', containers: [app] })
  assert.deepEqual(planned(once, state(['app', 'created'])), ['start app 0'])
  assert.deepEqual(planned(once, state(['app', 'exited', 0, 1])), [])
})
