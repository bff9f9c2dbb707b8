// Whether a pod gets a sidecar: the labels of its namespace and its own, as Istio's four webhooks read them. Pure
// (istio.io, "Controlling the injection policy").

import type { Json, KubeObject } from '#api'

const INJECT = 'sidecar.istio.io/inject'
const REVISION = 'istio.io/rev'
/** Namespaces that are never injected. */
const NEVER = new Set(['kube-system', 'kube-public', 'kube-node-lease', 'local-path-storage', 'istio-system'])
/** Revisions that are this control plane. */
const OURS = new Set(['default'])

/** True when Istio would inject. */
export function wantsSidecar(namespace: KubeObject | undefined, pod: Json): boolean {
  const labels: Record<string, string> = pod.metadata?.labels ?? {}
  const own = labels[INJECT] ?? pod.metadata?.annotations?.[INJECT]
  if (pod.spec?.hostNetwork || own === 'false') return false
  const gateway = isGatewayPod(pod)
  if (NEVER.has(namespace?.metadata.name ?? '') && !gateway) return false
  const of = namespace?.metadata.labels ?? {}
  const injection = of['istio-injection']
  const revision = of[REVISION]
  if (injection !== undefined) return injection === 'enabled'
  if (revision !== undefined) return OURS.has(revision)
  if (labels[REVISION] !== undefined) return OURS.has(labels[REVISION])
  return labels[INJECT] === 'true'
}

/** True for a pod that is to become a gateway: its template says so. */
export const isGatewayPod = (pod: Json): boolean =>
  String(pod.metadata?.annotations?.['inject.istio.io/templates'] ?? '')
    .split(',')
    .map((t) => t.trim())
    .includes('gateway')
