// Evictions: a pod is deleted if its disruption budget lets it go (policy/v1, Eviction).

import { condition, errors, type Json, type KubeObject, labelSelector, resources as R, StatusError } from '#api'
import { rfc3339 } from '#base'
import { readDeleteOptions } from './deletion.ts'
import { parseBody, readBody, sendJson } from './http-io.ts'
import { systemContext } from './identity.ts'
import type { WriteCall } from './write-verbs.ts'

/** POST …/pods/NAME/eviction. Fails with TooManyRequests when the budget does not allow it now. */
export async function evict(call: WriteCall): Promise<void> {
  const { resources, request, context, http, response } = call
  const { kind, namespace, name } = request
  const body = parseBody(await readBody(http), http.headers['content-type'])
  if (body.metadata?.name && body.metadata.name !== name)
    throw errors.badRequest(
      `the name of the object (${body.metadata.name}) does not match the name on the URL (${name})`,
    )
  const options = readDeleteOptions(body.deleteOptions, request.query)
  const dryRun = context.dryRun || options.dryRun?.includes('All') === true
  const pod = await resources.get(kind, namespace, name)
  if (!mayGoFreely(pod)) await askBudget(call, pod, dryRun)
  await resources.delete(kind, namespace, name, options, { ...context, dryRun })
  sendJson(response, 201, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 })
}

/** Pods that have ended, never ran, or are going already do not count. */
function mayGoFreely(pod: KubeObject): boolean {
  return (
    pod.metadata.deletionTimestamp !== undefined || ['Succeeded', 'Failed', 'Pending'].includes(pod.status?.phase ?? '')
  )
}

/** Takes one disruption from the pod's budget. */
async function askBudget({ resources }: WriteCall, pod: KubeObject, dryRun: boolean): Promise<void> {
  const { namespace = '', name } = pod.metadata
  const kind = resources.registry.resource('policy', 'v1', R.podDisruptionBudgets.plural)!
  const budgets = (await resources.store.cache(kind))
    .entries(namespace)
    .map((e) => e.object)
    .filter((b) => labelSelector(b.spec?.selector)(pod.metadata.labels))
  if (budgets.length > 1)
    throw errors.internal(
      new Error('This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.'),
    )
  const [budget] = budgets
  if (!budget) return
  await resources.modify(
    kind,
    namespace,
    budget.metadata.name,
    { ...systemContext(), dryRun },
    (current) => {
      const status: Json = current.status ?? {}
      const ready = condition(pod, 'Ready')?.status === 'True'
      const healthyEnough = status.currentHealthy >= status.desiredHealthy && status.desiredHealthy > 0
      if (!ready && (current.spec.unhealthyPodEvictionPolicy === 'AlwaysAllow' || healthyEnough)) return current
      if ((status.observedGeneration ?? 0) < (current.metadata.generation ?? 0))
        throw refusal(`The disruption budget ${current.metadata.name} is still being processed by the server.`, 10)
      if (!(status.disruptionsAllowed > 0))
        throw refusal(
          `The disruption budget ${current.metadata.name} needs ${status.desiredHealthy ?? 0} healthy pods and has ${status.currentHealthy ?? 0} currently`,
        )
      return {
        ...current,
        status: {
          ...status,
          disruptionsAllowed: status.disruptionsAllowed - 1,
          disruptedPods: { ...status.disruptedPods, [name]: rfc3339(resources.clock.now()) },
        },
      }
    },
    'status',
  )
}

function refusal(why: string, retryAfterSeconds = 0): StatusError {
  return new StatusError(429, 'TooManyRequests', "Cannot evict pod as it would violate the pod's disruption budget.", {
    causes: [{ reason: 'DisruptionBudget', message: why }],
    ...(retryAfterSeconds ? { retryAfterSeconds } : {}),
  })
}
