// The workload a pod belongs to, and the names Istio's telemetry knows it by. Pure.

import type { Json } from '#api'

/** The workload a pod belongs to: its Deployment rather than the ReplicaSet in between. */
export function workloadOf(pod: Json): { name: string; kind: string } {
  const owner = pod.metadata?.ownerReferences?.find((r: Json) => r.controller)
  if (!owner) return { name: pod.metadata?.name ?? pod.metadata?.generateName?.replace(/-$/, '') ?? '', kind: 'Pod' }
  const hash = pod.metadata?.labels?.['pod-template-hash']
  if (owner.kind === 'ReplicaSet' && hash && owner.name.endsWith(`-${hash}`))
    return { name: owner.name.slice(0, -hash.length - 1), kind: 'Deployment' }
  return { name: owner.name, kind: owner.kind }
}

/** Istio's canonical service of a workload: by label, else by its name. */
export function canonicalName(labels: Record<string, string> | undefined, workload: string): string {
  return (
    labels?.['service.istio.io/canonical-name'] ??
    labels?.['app.kubernetes.io/name'] ??
    labels?.app ??
    // A name may be longer than a label's value.
    workload.slice(0, 63).replace(/[^A-Za-z0-9]+$/, '')
  )
}

export function canonicalRevision(labels: Record<string, string> | undefined): string {
  return (
    labels?.['service.istio.io/canonical-revision'] ??
    labels?.['app.kubernetes.io/version'] ??
    labels?.version ??
    'latest'
  )
}
