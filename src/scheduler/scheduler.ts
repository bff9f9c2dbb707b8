// The scheduler: gives every pod a node, tries again when the cluster changes.

import { condition, isConflict, isNotFound, type KubeObject, keyOf, resources, splitKey } from '#api'
import { type Log, rfc3339 } from '#base'
import { Controller, EventRecorder, type Informers, type ReconcileResult } from '#client'
import { decide } from './decide.ts'
import type { NodeInfo } from './plugin.ts'
import { PLUGINS } from './plugins.ts'

const NAME = 'default-scheduler'

export function scheduler(informers: Informers, log: Log): Controller {
  const { client, clock } = informers
  const pods = informers.for(resources.pods)
  const nodes = informers.for(resources.nodes)
  const events = new EventRecorder(client, clock, log, NAME)
  pods.addIndex('node', (o) => [o.spec?.nodeName ?? ''])

  // One worker: each decision sees the one before it.
  const controller = new Controller({ name: 'scheduler', clock, log, workers: 1, reconcile })
  const retryAll = () => {
    for (const pod of pods.byIndex('node', '')) if (waiting(pod)) controller.queue.add(keyOf(pod))
  }
  pods.on(({ type, object }) => {
    if (type === 'deleted' || object.status?.phase === 'Failed' || object.status?.phase === 'Succeeded') retryAll()
    else if (type === 'added' && waiting(object)) controller.queue.add(keyOf(object))
  })
  nodes.on(({ type, object, old }) => {
    if (type !== 'updated' || schedulable(object) !== (old && schedulable(old))) retryAll()
  })
  return controller

  async function reconcile(key: string): Promise<ReconcileResult> {
    const pod = pods.get(key)
    if (!pod || !waiting(pod)) return
    const { namespace, name } = splitKey(key)
    await nodes.synced()
    const infos: NodeInfo[] = nodes.list().map((node) => ({ node, pods: pods.byIndex('node', node.metadata.name) }))
    const decision = decide(pod, infos, PLUGINS)
    if ('reason' in decision) return unschedulable(pod, decision.reason)
    try {
      await client.bind(namespace, name, decision.node)
    } catch (error) {
      if (isNotFound(error) || isConflict(error)) return
      throw error
    }
    events.normal(pod, 'Scheduled', `Successfully assigned ${key} to ${decision.node}`)
  }

  async function unschedulable(pod: KubeObject, message: string): Promise<ReconcileResult> {
    events.warning(pod, 'FailedScheduling', message)
    const before = condition(pod, 'PodScheduled')
    if (before?.status !== 'False' || before.message !== message) {
      // Conditions merge by type: what the node wrote meanwhile stays.
      const entry = {
        type: 'PodScheduled',
        status: 'False',
        lastProbeTime: null,
        lastTransitionTime: rfc3339(clock.now()),
        reason: 'Unschedulable',
        message,
      }
      const { namespace = '', name } = pod.metadata
      await client.patch(resources.pods, namespace, name, { status: { conditions: [entry] } }, 'strategic', 'status')
    }
    return { requeueAfter: 30_000 }
  }
}

function waiting(pod: KubeObject): boolean {
  return (
    !pod.spec.nodeName &&
    !pod.metadata.deletionTimestamp &&
    (pod.spec.schedulerName ?? NAME) === NAME &&
    !pod.spec.schedulingGates?.length
  )
}

/** What of a node decides whether pods fit. */
function schedulable(node: KubeObject): string {
  return JSON.stringify([node.spec, node.metadata.labels, node.status?.allocatable, condition(node, 'Ready')?.status])
}
