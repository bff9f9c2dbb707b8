// What deleting an object means: remove it now, or mark it and wait for finalizers or for the node.

import { errors, type FieldError, field, type Json, type KubeObject } from '#api'
import { rfc3339 } from '#base'

/** metav1.DeleteOptions, the fields that decide. */
export interface DeleteOptions {
  propagationPolicy?: string
  orphanDependents?: boolean
  gracePeriodSeconds?: number
  preconditions?: { uid?: string; resourceVersion?: string }
  dryRun?: string[]
}

const FOREGROUND = 'foregroundDeletion'
const ORPHAN = 'orphan'

/**
 * The object's next state, or undefined to remove it. Returns `object` itself when nothing changes.
 * `now` is milliseconds.
 */
export function planDeletion(
  resource: string,
  object: KubeObject,
  options: DeleteOptions,
  now: number,
): KubeObject | undefined {
  const finalizers = finalizersFor(object, options)
  const grace = resource === 'pods' ? podGrace(object, options) : 0
  if (resource === 'namespaces') return namespaceDeletion(object, finalizers, now)
  if (finalizers.length === 0 && grace === 0) return undefined
  const { deletionTimestamp, deletionGracePeriodSeconds } = object.metadata
  if (deletionTimestamp) {
    // Only a shorter grace changes a deletion that is under way.
    const shorter = resource === 'pods' && grace < (deletionGracePeriodSeconds ?? 0)
    if (!shorter && sameList(finalizers, object.metadata.finalizers)) return object
    const metadata = withFinalizers(object, finalizers)
    if (shorter) {
      metadata.deletionTimestamp = rfc3339(now + grace * 1000)
      metadata.deletionGracePeriodSeconds = grace
    }
    return { ...object, metadata }
  }
  const metadata = withFinalizers(object, finalizers)
  metadata.deletionTimestamp = rfc3339(now + grace * 1000)
  metadata.deletionGracePeriodSeconds = grace
  if (metadata.generation !== undefined) metadata.generation += 1
  return { ...object, metadata }
}

/** True when an object marked for deletion has nothing left to wait for. */
export function deletionComplete(resource: string, object: KubeObject): boolean {
  if (!object.metadata.deletionTimestamp || object.metadata.finalizers?.length) return false
  if (resource === 'namespaces') return !object.spec?.finalizers?.length
  return (object.metadata.deletionGracePeriodSeconds ?? 0) === 0
}

function namespaceDeletion(object: KubeObject, finalizers: string[], now: number): KubeObject | undefined {
  if (!object.spec?.finalizers?.length && finalizers.length === 0) return undefined
  if (object.metadata.deletionTimestamp) return object
  const metadata = withFinalizers(object, finalizers)
  metadata.deletionTimestamp = rfc3339(now)
  return { ...object, metadata, status: { ...object.status, phase: 'Terminating' } }
}

function finalizersFor(object: KubeObject, options: DeleteOptions): string[] {
  const others = (object.metadata.finalizers ?? []).filter((f) => f !== FOREGROUND && f !== ORPHAN)
  const policy = options.propagationPolicy ?? (options.orphanDependents ? 'Orphan' : undefined)
  if (policy === 'Foreground') return [...others, FOREGROUND]
  if (policy === 'Orphan') return [...others, ORPHAN]
  if (policy === 'Background') return others
  return object.metadata.finalizers ?? []
}

/** Seconds a pod is given: none when it never reached a node or has already ended. */
function podGrace(pod: KubeObject, options: DeleteOptions): number {
  if (!pod.spec?.nodeName || pod.status?.phase === 'Failed' || pod.status?.phase === 'Succeeded') return 0
  const wanted =
    options.gracePeriodSeconds ??
    pod.metadata.deletionGracePeriodSeconds ??
    pod.spec.terminationGracePeriodSeconds ??
    30
  return Math.max(0, wanted)
}

function withFinalizers(object: KubeObject, finalizers: string[]): KubeObject['metadata'] {
  const { finalizers: _, ...metadata } = object.metadata
  return finalizers.length > 0 ? { ...metadata, finalizers } : { ...metadata }
}

function sameList(a: readonly string[], b: readonly string[] | undefined): boolean {
  return a.length === (b?.length ?? 0) && a.every((v, i) => b?.[i] === v)
}

const POLICIES = ['Background', 'Foreground', 'Orphan']

/** Reads DeleteOptions out of a body and query parameters; the body wins. */
export function readDeleteOptions(body: Json | undefined, query: URLSearchParams): DeleteOptions {
  const options: DeleteOptions = {}
  const policy = body?.propagationPolicy ?? query.get('propagationPolicy')
  if (policy) options.propagationPolicy = policy
  const grace = body?.gracePeriodSeconds ?? query.get('gracePeriodSeconds')
  if (grace !== undefined && grace !== null) options.gracePeriodSeconds = Number(grace)
  const orphan = body?.orphanDependents ?? query.get('orphanDependents')
  if (orphan === true || orphan === 'true') options.orphanDependents = true
  if (body?.preconditions) options.preconditions = body.preconditions
  if (body?.dryRun) options.dryRun = body.dryRun
  const problems: FieldError[] = []
  if (policy && !POLICIES.includes(policy)) problems.push(field.notSupported('propagationPolicy', policy, POLICIES))
  if (policy && orphan !== undefined && orphan !== null)
    problems.push(
      field.invalid('propagationPolicy', policy, 'orphanDependents and deletionPropagation cannot be both set'),
    )
  if (options.dryRun && (!Array.isArray(options.dryRun) || options.dryRun.some((d) => d !== 'All')))
    problems.push(field.notSupported('dryRun', options.dryRun, ['All']))
  if (problems.length > 0) throw errors.invalid('DeleteOptions', 'meta.k8s.io', '', problems)
  return options
}
